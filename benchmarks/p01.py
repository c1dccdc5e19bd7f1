"""P1: what a poll costs with all checks on, against `Session.get(url, timeout=).json()`.

CPU of this process; the service is another one. One job as fast as it goes: the client alone, then the sampler, which
commits each poll. Then 2,000 jobs at 3 s, each reply after 50 to 200 ms, in 128 threads, with the store, against the
same polls by `Session.get` in 128 threads without one.
"""

from __future__ import annotations

import dataclasses
import itertools
import statistics
import tempfile
import time

import requests

import mops_analysis as mops
from benchmarks.driver import Figure, in_turns, main, ratio
from benchmarks.polling import plain, sampled
from benchmarks.service import FIELDS, service


def measure(*, small: bool) -> list[Figure]:
    return [*one_job(polls=20 if small else 430, rounds=1 if small else 7), *many_jobs(small=small)]


def one_job(polls: int, rounds: int) -> list[Figure]:
    with (
        tempfile.TemporaryDirectory() as folder,
        service(polls=polls) as server,
        requests.Session() as session,
        mops.SampleStore(f"{folder}/samples.db") as store,
        mops.JobStatusClient(base_url=server.url, token="token", organization_id="org-1") as client,
    ):
        session.headers.update({"Authorization": "Bearer token", "X-Organization-ID": "org-1"})
        numbers = itertools.count()

        def reference() -> None:
            url = f"{server.url}/api/jobs/job-{next(numbers)}/status"
            for _ in range(polls):
                session.get(url, timeout=10).json()

        def fetch() -> None:
            job_id = f"job-{next(numbers)}"
            for _ in range(polls):
                client.fetch_status(job_id)

        def sample() -> None:
            mops.Sampler(client, store, interval_s=1e-6).watch(f"job-{next(numbers)}", progress=False)

        served = session.get(f"{server.url}/api/jobs/job-{next(numbers)}/status", timeout=10).json()
        assert dataclasses.asdict(client.fetch_status(served["job_id"])) == served
        sample()
        samples = store.read_samples()
        assert len(samples) == polls
        assert samples[list(FIELDS)].iloc[:-1].drop_duplicates().to_dict("records") == [FIELDS]
        costs = in_turns({"get": reference, "fetch": fetch, "sample": sample}, rounds, clock=time.process_time)
        assert len(store.read_samples()) == polls * (1 + len(costs["sample"]))
    each_ms = 1000 * statistics.median(costs["get"]) / polls
    return [
        Figure("P1", f"CPU, fetch_status / Session.get ({each_ms:.2f} ms)", ratio(costs, "fetch", "get"), 0.75),
        Figure("P1", "CPU, sampler with a commit per poll / Session.get", ratio(costs, "sample", "get"), 1.4),
    ]


def many_jobs(*, small: bool) -> list[Figure]:
    jobs, seconds, interval_s, rounds = (20, 0.8, 0.4, 1) if small else (2000, 6.0, 3.0, 7)
    pairs = [
        (
            sampled(jobs, seconds, interval_s=interval_s, threads=128).cpu_per_poll_ms,
            plain(jobs, seconds, interval_s=interval_s, threads=128).cpu_per_poll_ms,
        )
        for _ in range(rounds)
    ]
    what = f"CPU, {jobs:,} jobs sampled / Session.get ({statistics.median(other for _, other in pairs):.2f} ms)"
    return [Figure("P1", what, statistics.median(ours / other for ours, other in pairs), 0.9)]


if __name__ == "__main__":
    main(__doc__, measure)
