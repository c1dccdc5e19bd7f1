"""P2: what a poll over TLS costs, against `requests.get`, with the public authorities' certificates to be loaded.

CPU of this process; the service is another one and counts the handshakes.
"""

from __future__ import annotations

import dataclasses
import statistics
import tempfile
import time
from pathlib import Path

import certifi
import requests
import trustme

import mops_analysis as mops
from benchmarks.driver import Figure, in_turns, main, ratio
from benchmarks.service import job_ids, service


def measure(*, small: bool) -> list[Figure]:
    polls, rounds = (2, 1) if small else (15, 7)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        authority = trustme.CA(key_type=trustme.KeyType.RSA)
        authority.issue_cert("127.0.0.1", key_type=trustme.KeyType.RSA).private_key_and_cert_chain_pem.write_to_path(
            folder / "server.pem"
        )
        bundle = folder / "bundle.pem"
        bundle.write_bytes(certifi.contents().encode() + authority.cert_pem.bytes())
        with (
            service(pem=f"{folder}/server.pem") as server,
            mops.JobStatusClient(base_url=server.url, ca_bundle=bundle) as client,
        ):
            url = f"{server.url}/api/jobs/job-0/status"

            def reference() -> None:
                for _ in range(polls):
                    requests.get(url, timeout=10, verify=str(bundle)).json()

            def fetch() -> None:
                for _ in range(polls):
                    client.fetch_status("job-0")

            for _ in range(5):
                assert (
                    dataclasses.asdict(client.fetch_status("job-0"))
                    == requests.get(url, timeout=10, verify=str(bundle)).json()
                )
            costs = in_turns({"get": reference, "fetch": fetch}, rounds, clock=time.process_time)
        handshakes, threads = _handshakes(folder, bundle, small=small)
    each_ms = 1000 * statistics.median(costs["get"]) / polls
    what = f"CPU, requests.get ({each_ms:.1f} ms) / fetch_status, over TLS"
    return [
        Figure("P2", what, ratio(costs, "get", "fetch"), at_least=25),
        Figure("P2", f"handshakes of {threads} threads", handshakes, at_most=threads, unit=""),
    ]


def _handshakes(folder: Path, bundle: Path, *, small: bool) -> tuple[int, int]:
    jobs, seconds = (10, 1.0) if small else (200, 6.0)
    with (
        service(pem=f"{folder}/server.pem", latency_s=(0.05, 0.2)) as server,
        mops.SampleStore(folder / "samples.db") as store,
        mops.JobStatusClient(base_url=server.url, ca_bundle=bundle) as client,
        mops.Sampler(client, store, interval_s=0.25 if small else 1.0) as sampler,
    ):
        sampler.start(job_ids(jobs))
        sampler.wait(seconds)
        threads = sampler.threads
    assert len(server.log.requests) > jobs
    return server.log.connections, threads


if __name__ == "__main__":
    main(__doc__, measure)
