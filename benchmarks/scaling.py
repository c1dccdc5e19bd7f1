"""The figures of docs/scaling.md: what a million samples cost to keep and to measure, in each of the ways.

python -m benchmarks.scaling [--small]
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import TypeVar

import pandas as pd
from distributed import Client, LocalCluster

import mops_analysis as mops
from benchmarks.driver import Figure, cpu_s, main
from benchmarks.fleet import samples
from mops_analysis import dataset

_R = TypeVar("_R")


def _cost(call: Callable[[], _R]) -> tuple[float, _R]:
    begun = cpu_s()
    result = call()
    return cpu_s() - begun, result


def _give_back() -> None:
    dataset._keep_freed_memory = lambda: None


def _on_dask(
    summed: Callable[..., pd.DataFrame], folder: str, prepare: Callable[[], None] | None = None
) -> tuple[float, float, pd.DataFrame]:
    """CPU of starting two workers, CPU of a second run, and what it found."""
    begun = cpu_s()
    with (
        LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None, local_directory=folder) as cluster,
        Client(cluster) as client,
    ):
        if prepare is not None:
            client.run(prepare)
        call = partial(summed, executor=client.get_executor())
        call()
        started = cpu_s() - begun
        warm, found = _cost(call)
        return started - warm, warm, found


def measure(*, small: bool) -> list[Figure]:
    jobs, per_job = (16, 20) if small else (400, 1000)
    frame = samples(jobs, per_job)
    millions = len(frame) / 1e6
    figures = []

    def note(what: str, value: float, unit: str) -> None:
        figures.append(Figure("", what, value, unit=unit))

    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        path = f"{folder}/fleet"
        cpu, files = _cost(partial(mops.write_dataset, frame, path, progress=False))
        note("dataset: write, CPU per million samples", cpu / millions, "s")
        note("dataset: size per sample", sum(Path(file).stat().st_size for file in files) / len(frame), "B")
        store = stack.enter_context(mops.SampleStore(f"{folder}/samples.db"))
        store.append_samples(frame)
        store.close()
        note("store: size per sample", store.path.stat().st_size / len(frame), "B")
        note("store: read, CPU per million samples", _cost(store.read_samples)[0] / millions, "s")
        note("dataset: read, CPU per million samples", _cost(partial(mops.read_dataset, path))[0] / millions, "s")
        job_id = frame["job_id"].iloc[0]
        note("dataset: read one job, CPU", _cost(partial(mops.read_dataset, path, job_ids=job_id))[0], "s")
        mops.summary(frame.iloc[:1000])  # loads what a first call loads
        whole, expected = _cost(partial(mops.summary, frame))
        note("summary of one frame, CPU per million samples", whole / millions, "s")
        summed = partial(mops.summarize_dataset, path, progress=False)
        here, found = _cost(summed)
        note("summary of the dataset here / of one frame, CPU", here / whole, "x")
        pd.testing.assert_frame_equal(found, expected)

        pool = stack.enter_context(ProcessPoolExecutor(2, mp_context=get_context("spawn")))
        cpu, _ = _cost(partial(summed, executor=pool))
        warm, found = _cost(partial(summed, executor=pool))
        pd.testing.assert_frame_equal(found, expected)
        note("pool of two: start, CPU", cpu - warm, "s")
        note("pool of two, warm / here, CPU", warm / here, "x")

        start, warm, found = _on_dask(summed, folder)
        pd.testing.assert_frame_equal(found, expected)
        note("Dask, two workers: start, CPU", start, "s")
        note("Dask, two workers, warm / here, CPU", warm / here, "x")
        note("the same, freed memory given back / here, CPU", _on_dask(summed, folder, _give_back)[1] / here, "x")
    return figures


if __name__ == "__main__":
    main(__doc__, measure)
