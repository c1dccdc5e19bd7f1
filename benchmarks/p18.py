"""P18: what it costs to measure a dataset elsewhere, in one worker, against this process.

CPU of all processes together, after they have started, for the summary of a dataset of 16 buckets.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from functools import partial
from multiprocessing import get_context

import pandas as pd
from distributed import Client, LocalCluster

import mops_analysis as mops
from benchmarks.driver import Figure, in_turns, main, ratio
from benchmarks.fleet import samples


def measure(*, small: bool) -> list[Figure]:
    jobs, per_job, rounds = (32, 30, 1) if small else (1000, 1000, 7)
    frame = samples(jobs, per_job)
    with (
        tempfile.TemporaryDirectory() as folder,
        ThreadPoolExecutor(1) if small else ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool,
        LocalCluster(
            n_workers=1, threads_per_worker=1, processes=not small, dashboard_address=None, local_directory=folder
        ) as cluster,
        Client(cluster) as client,
    ):
        mops.write_dataset(frame, f"{folder}/fleet", progress=False)
        measured = partial(mops.summarize_dataset, f"{folder}/fleet", progress=False)
        ways: dict[str, Callable[[], pd.DataFrame]] = {
            "here": measured,
            "pool": partial(measured, executor=pool),
            "dask": partial(measured, executor=client.get_executor()),
        }
        expected = mops.summary(frame)
        for way in ways.values():
            pd.testing.assert_frame_equal(way(), expected, check_exact=True)
        costs = in_turns(ways, rounds)
    return [
        Figure("P18", "CPU, a pool of one process / this process", ratio(costs, "pool", "here"), at_most=1.15),
        Figure("P18", "CPU, a Dask worker as it comes / this process", ratio(costs, "dask", "here"), at_most=1.5),
    ]


if __name__ == "__main__":
    main(__doc__, measure)
