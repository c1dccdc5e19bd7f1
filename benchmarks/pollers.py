"""What the drivers measure, in a process of its own: many jobs polled by the sampler, and in the plain way.

It prints how long it took, the CPU time of the process meanwhile, and how many threads it had, as JSON.
"""

from __future__ import annotations

import argparse
import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import requests

import mops_analysis as mops
from benchmarks.service import FIELDS, job_ids


def sampled(options: argparse.Namespace) -> int:
    """Poll by the sampler, into a store on the disk."""
    with (
        mops.JobStatusClient(base_url=options.url) as client,
        mops.SampleStore(options.store) as store,
        mops.Sampler(client, store, options.interval, workers=options.threads) as sampler,
    ):
        sampler.start(job_ids(options.jobs), timeout_s=options.seconds)
        sampler.wait()
        if sampler.error is not None:
            raise sampler.error
        return sampler.threads


def plain(options: argparse.Namespace) -> int:
    """Poll as one would without the sampler: at each tick all jobs go to a pool of threads, each with a Session."""
    own = threading.local()

    def fetch(job_id: str) -> None:
        if not hasattr(own, "session"):
            own.session = requests.Session()
        status = own.session.get(f"{options.url}/api/jobs/{job_id}/status", timeout=10).json()
        assert status == {"job_id": job_id, **FIELDS}, status

    with ThreadPoolExecutor(options.threads) as pool:
        begun = time.monotonic()
        for tick in range(round(options.seconds / options.interval)):
            time.sleep(max(0.0, begun + tick * options.interval - time.monotonic()))
            done = [pool.submit(fetch, job_id) for job_id in job_ids(options.jobs)]
        for each in done:
            each.result()
    return options.threads


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("way", choices=("sampled", "plain"))
    parser.add_argument("url")
    parser.add_argument("store")
    parser.add_argument("--jobs", type=int)
    parser.add_argument("--seconds", type=float)
    parser.add_argument("--interval", type=float)
    parser.add_argument("--threads", type=int)
    given = parser.parse_args()
    cpu, begun = time.process_time(), time.monotonic()
    threads = {"sampled": sampled, "plain": plain}[given.way](given)
    took, cpu = time.monotonic() - begun, time.process_time() - cpu
    print(json.dumps({"begun": begun, "seconds": took, "cpu_s": cpu, "threads": threads}))
