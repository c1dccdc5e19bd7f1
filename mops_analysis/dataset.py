"""Samples of whole fleets as a partitioned Parquet dataset, and any metric over it, in one process or in many.

::

    fleet/
      _dataset.json                                 how many buckets there are
      bucket=07/day=2026-11-18/part-….parquet       sorted by job_id, then sampled_at; columns as in `schema`

All samples of a job are in one bucket, so every metric of jobs is one task per bucket, and no rows are exchanged. The
layout is Hive's: any Parquet engine reads it, and skips the names that begin with "_" or ".". Paths may be local, or
URLs that `fsspec` knows, such as ``s3://…``.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import hashlib
import json
import os
import re
import sys
import time
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np
import pandas as pd

from mops_analysis import metrics, parquet, schema
from mops_analysis.errors import SchemaError, StoreError
from mops_analysis.metrics.counting import Votes, votes

__all__ = ["job_bucket", "read_dataset", "summarize_dataset", "write_dataset"]

_T = TypeVar("_T")
_R = TypeVar("_R")

#: Every metric that treats each job for itself, by name.
METRICS: dict[str, Callable[..., pd.DataFrame]] = {
    "anomalies": metrics.anomalies,
    "counting": metrics.counting,
    "eta": metrics.eta,
    "eta_backtest": metrics.eta_backtest,
    "failure_rate": metrics.failure_rate,
    "summary": metrics.summary,
    "throughput": metrics.throughput,
    "throughput_by": metrics.throughput_by,
}
# Forecasts decide how to count from the job's own past alone; the others also ask the other jobs.
_ASK_NOBODY = {"eta", "eta_backtest"}
_FORECASTS = {"eta", "eta_backtest", "summary"}

_BUCKETS = 16
_MARKER = "_dataset.json"
_PART = re.compile(r"/(bucket=[^/]+)/(?:[^/]+/)*[^/._][^/]*\.parquet$")
_DAY_NS = 86_400 * 1_000_000_000

_SILENT_S = 2.0


class Executor(Protocol):
    """What runs tasks elsewhere: an executor of `concurrent.futures`, or a Dask client's ``get_executor()``."""

    def submit(self, fn: Callable[..., _R], /, *args: Any) -> Future[_R]:
        """Run a function somewhere."""


def job_bucket(job_id: str, buckets: int) -> int:
    """The bucket of a job: CRC-32 of its id in UTF-8, modulo the number of buckets. The same in every language.

    Examples
    --------
    >>> job_bucket("job-1", 16)
    15
    """
    return zlib.crc32(job_id.encode()) % buckets


def write_dataset(
    samples: pd.DataFrame, path: str | os.PathLike[str], *, buckets: int | None = None, progress: bool = True
) -> list[str]:
    """Add samples to a partitioned Parquet dataset; made if there is none.

    A file appears whole or not at all, and is on the disk when this returns. Its name follows from its contents, so
    the same samples written again, after a crash half-way, are there once. Samples that overlap with earlier ones
    without being the same call are there twice: cut what is added by time, for example day by day.

    Parameters
    ----------
    samples
        Frame as in `schema`; further columns are kept.
    path
        A folder, or a URL that fsspec knows, such as ``s3://bucket/fleet``.
    buckets
        How many buckets a new dataset has, for good; 16 where None. About one per million samples in the end.
    progress
        Whether a bar is shown after two seconds.

    Returns
    -------
    list of str
        The files written, one for each bucket and day (UTC).

    Raises
    ------
    SchemaError
        If the frame is no samples frame, has a column `bucket` or `day` or one of mixed types, or the dataset has
        another number of buckets.
    StoreError
        If there are Parquet files of someone else at that path.

    Examples
    --------
    >>> import tempfile
    >>> from mops_analysis import load_example
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     files = write_dataset(load_example(), folder, buckets=4)
    >>> len(files)
    4
    """
    import pyarrow as pa

    checked = schema.validate(samples)
    for name in ("bucket", "day"):
        if name in checked:
            raise SchemaError(f"column {name!r}: a dataset has folders of that name; rename the column")
    storage, root = _storage(path)
    number = _settle_buckets(storage, root, buckets)
    try:
        layout = pa.Schema.from_pandas(checked, preserve_index=False)
    except (pa.ArrowException, TypeError) as error:
        raise SchemaError(f"a further column cannot be kept: {error}; give it one type, or drop it") from None
    written = []
    parts = list(_partition(checked, number))
    with _progress(len(parts), "writing files", show=progress) as advance:
        for folder, rows in parts:
            table = pa.Table.from_pandas(checked.iloc[rows], schema=layout, preserve_index=False)
            content = parquet.encoded(table)
            name = f"{root}/{folder}/part-{hashlib.blake2b(content, digest_size=12).hexdigest()}.parquet"
            _put(storage, name, content)
            written.append(name)
            advance(1)
    return written


def read_dataset(path: str | os.PathLike[str], *, job_ids: str | Iterable[str] | None = None) -> pd.DataFrame:
    """Read the samples of some jobs, or all of them, from a dataset.

    Parameters
    ----------
    path
        As in `write_dataset`.
    job_ids
        One job or several; None reads all. Only the buckets of these jobs are read. Unknown jobs give no rows.

    Returns
    -------
    DataFrame
        Frame as in `schema`, sorted by job and time.

    Raises
    ------
    StoreError
        If there is no such dataset, or a file of it is damaged.

    Examples
    --------
    >>> import tempfile
    >>> from mops_analysis import load_example
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     _ = write_dataset(load_example(), folder)
    ...     samples = read_dataset(folder, job_ids=["clean-import-1", "nobody"])
    >>> samples["job_id"].unique().tolist()
    ['clean-import-1']
    """
    storage, root = _storage(path)
    parts = _parts_to_read(storage, root)
    if job_ids is None:
        return _read(storage, [file for files in parts.values() for file in files])
    wanted = [job_ids] if isinstance(job_ids, str) else sorted(set(job_ids))
    number = _buckets(storage, root)
    if number is not None:
        folders = {_bucket_folder(job_bucket(job_id, number), number) for job_id in wanted}
        parts = {folder: files for folder, files in parts.items() if folder in folders}
    return _read(storage, [file for files in parts.values() for file in files], wanted)


def summarize_dataset(
    path: str | os.PathLike[str],
    *,
    metric: str = "summary",
    executor: Executor | None = None,
    progress: bool = True,
    **options: Any,
) -> pd.DataFrame:
    """Run any metric over a dataset: one task per bucket, here or on many machines.

    The same numbers as the metric gives on all the samples in one frame, but for forecasts of jobs with a `label`: see
    the notes.

    Parameters
    ----------
    path
        As in `write_dataset`.
    metric
        "summary", "throughput", "throughput_by", "failure_rate", "eta", "eta_backtest", "anomalies" or "counting".
    executor
        Where the tasks run: None for this process, a `concurrent.futures.ProcessPoolExecutor`, or a Dask client's
        ``client.get_executor()``. Its workers must reach the path, and have this package.
    progress
        Whether a bar is shown after two seconds.
    options
        What the metric takes, such as ``window="5min"``.

    Returns
    -------
    DataFrame
        What the metric returns, sorted by job, with a RangeIndex. For a metric of one row per sample that is as long as
        the dataset.

    Raises
    ------
    SchemaError
        If there is no such metric, or an option does not fit it.
    StoreError
        If there is no such dataset, or a file of it is damaged.

    Notes
    -----
    A job whose samples do not tell how the service counts takes the word of the other jobs (see `counting`), which may
    be in other buckets. So each task also returns the votes of its jobs; where all votes together say otherwise than
    those of a bucket, the bucket is measured once more, with all of them.

    With a column `label`, `eta` on a frame also learns from finished jobs of the same label. Those may be in any
    bucket, so here "eta", "eta_backtest" and the forecasts in "summary" are those of the samples without their labels,
    whatever the number of buckets.

    ``throughput_by`` for all jobs together, or by a column, adds up the buckets: rates too, since they are of the same
    periods.

    Examples
    --------
    >>> import tempfile
    >>> from mops_analysis import load_example
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     _ = write_dataset(load_example(), folder)
    ...     jobs = summarize_dataset(folder, metric="summary")
    >>> int(jobs["finished_items"].sum())
    11541
    """
    if metric not in METRICS:
        raise SchemaError(f"metric: expected one of {', '.join(METRICS)}, got {metric!r}")
    storage, root = _storage(path)
    parts = list(_parts_to_read(storage, root).values())
    if not parts:
        return METRICS[metric](schema.to_frame([]), **options)
    asks = metric not in _ASK_NOBODY and options.get("processed_includes_failed", "auto") == "auto"
    measure = functools.partial(_measure, storage.unstrip_protocol(root), metric)
    with _progress(len(parts), f"{metric}: buckets", show=progress) as advance:
        results = _run(functools.partial(measure, options, asks), parts, executor, advance)
    frames = [frame for frame, _ in results]
    everyone = sum((said for _, said in results), Votes())
    differs = [at for at, (_, said) in enumerate(results) if asks and _would_differ(metric, said, everyone)]
    told = {**options, "processed_includes_failed": everyone}
    with _progress(len(differs), f"{metric}: buckets again", show=progress) as advance:
        again = _run(functools.partial(measure, told, False), [parts[at] for at in differs], executor, advance)
    for at, (frame, _) in zip(differs, again, strict=True):
        frames[at] = frame
    return _joined(frames, metric, options)


def _measure(
    address: str, metric: str, options: Mapping[str, Any], asks: bool, files: Sequence[str]
) -> tuple[pd.DataFrame, Votes]:
    """The metric of one bucket, and the votes of its jobs where they matter."""
    storage, _ = _storage(address)
    samples = _read(storage, files)
    said = votes(samples) if asks else Votes()
    if metric not in _FORECASTS or "label" not in samples:
        return METRICS[metric](samples, **options), said
    # With labels a forecast learns from other jobs, which are in any bucket: it would depend on how many there are.
    frame = METRICS[metric](samples.drop(columns="label"), **options)
    labels = {"eta": samples, "summary": samples.drop_duplicates("job_id", ignore_index=True)}
    return frame.assign(label=labels[metric]["label"]) if metric in labels else frame, said


def _would_differ(metric: str, said: Votes, everyone: Votes) -> bool:
    # `counting` shows the votes themselves, the other metrics depend on their majority.
    return said != everyone if metric == "counting" else said.majority != everyone.majority


def _joined(frames: list[pd.DataFrame], metric: str, options: Mapping[str, Any]) -> pd.DataFrame:
    whole = pd.concat(frames, ignore_index=True)
    if metric == "throughput_by" and options.get("by", "job") not in ("job", "job_id"):
        keys = [name for name in whole.columns if not name.endswith(("_items", "_per_s"))]
        return whole.groupby(keys, dropna=False, observed=True).sum().reset_index()
    order = np.argsort(pd.factorize(whole["job_id"], sort=True)[0], kind="stable")
    return whole.take(order).reset_index(drop=True)


# -- tasks -----------------------------------------------------------------------------------------------------------


def _run(
    call: Callable[[_T], _R], tasks: Sequence[_T], executor: Executor | None, advance: Callable[[int], None]
) -> list[_R]:
    if executor is None:
        results = []
        for task in tasks:
            results.append(call(task))
            advance(1)
        return results
    futures = [executor.submit(_in_worker, call, task) for task in tasks]
    pending = set(futures)
    try:
        while pending:
            done, pending = wait(pending, timeout=_SILENT_S / 4, return_when=FIRST_COMPLETED)
            for future in done:
                future.result()
            advance(len(done))
    finally:
        for future in pending:
            future.cancel()
    return [future.result() for future in futures]


def _in_worker(call: Callable[[_T], _R], task: _T) -> _R:
    _keep_freed_memory()
    return call(task)


def _keep_freed_memory() -> None:
    """Let glibc keep freed memory for the next array, up to 32 MiB a piece, its own limit, instead of giving it back.

    Dask's nanny sets MALLOC_TRIM_THRESHOLD_, with which each temporary array beyond 128 kB is asked of the system anew,
    page by page; see docs/scaling.md for what that costs.
    """
    if sys.platform == "linux" and hasattr(library := ctypes.CDLL(None), "mallopt"):
        m_trim_threshold, m_mmap_threshold, most = -1, -3, 32 * 2**20
        library.mallopt(m_mmap_threshold, most)
        library.mallopt(m_trim_threshold, 2 * most)


@contextlib.contextmanager
def _progress(total: int, text: str, *, show: bool) -> Iterator[Callable[[int], None]]:
    """Give a function that says how many more are done; a bar is shown once that has taken two seconds."""
    begun = time.monotonic()
    done = 0
    with contextlib.ExitStack() as stack:
        update: Callable[[], None] | None = None

        def advance(more: int) -> None:
            nonlocal done, update
            done += more
            if update is None and show and time.monotonic() - begun > _SILENT_S:
                from rich.console import Console
                from rich.progress import Progress

                bars = stack.enter_context(Progress(console=Console(stderr=True), refresh_per_second=5))
                bar = bars.add_task(text, total=total)
                update = lambda: bars.update(bar, completed=done)  # noqa: E731  one statement, beside what it uses
            if update is not None:
                update()

        yield advance


# -- files -----------------------------------------------------------------------------------------------------------


def _storage(path: str | os.PathLike[str]) -> tuple[Any, str]:
    """The file system of a path, and the path within it."""
    try:
        import pyarrow  # noqa: F401  whatever uses this reads or writes Parquet
        from fsspec.core import url_to_fs
    except ImportError:
        raise SchemaError(
            f'{path}: datasets need pyarrow and fsspec; install them with: pip install "mops_analysis[parquet]"'
        ) from None
    try:
        storage, root = url_to_fs(os.fspath(path))
    except (ValueError, ImportError) as error:  # no such protocol, or what speaks it is not installed
        raise SchemaError(f"{path}: expected a folder, or an address that fsspec knows; {error}") from None
    storage.invalidate_cache()  # another process may have added files
    return storage, root.rstrip("/")


def _buckets(storage: Any, root: str) -> int | None:
    """The number of buckets that the dataset was made with; None where nobody noted it."""
    marker = f"{root}/{_MARKER}"
    if not storage.exists(marker):
        return None
    try:
        return int(json.loads(storage.cat_file(marker))["buckets"])
    except (ValueError, TypeError, KeyError):
        raise StoreError(f'{marker} is damaged; expected the number of folders there: {{"buckets": 16}}') from None


def _settle_buckets(storage: Any, root: str, asked: int | None) -> int:
    found = _buckets(storage, root)
    if found is not None:
        if asked not in (None, found):
            raise SchemaError(f"buckets: the dataset {root} has {found} for good, got {asked!r}; leave it out")
        return found
    number = _BUCKETS if asked is None else asked
    if isinstance(number, bool) or not isinstance(number, int) or not 1 <= number <= 100_000:
        raise SchemaError(f"buckets: expected a whole number from 1 to 100,000, got {asked!r}")
    if _parts(storage, root):
        raise StoreError(f"{root}: Parquet files of someone else are there; choose another folder")
    _put(storage, f"{root}/{_MARKER}", json.dumps({"buckets": number}).encode())
    return number


def _parts(storage: Any, root: str) -> dict[str, list[str]]:
    """The Parquet files of each bucket, in order."""
    parts: dict[str, list[str]] = {}
    for file in sorted(storage.find(root)):
        if match := _PART.search(file.removeprefix(root)):
            parts.setdefault(match[1], []).append(file)
    return parts


def _parts_to_read(storage: Any, root: str) -> dict[str, list[str]]:
    """The same of a dataset; what is none must not pass for an empty one."""
    parts = _parts(storage, root)
    if not parts and _buckets(storage, root) is None:
        raise StoreError(f"{root}: there is no such dataset; write one with write_dataset()")
    return parts


def _bucket_folder(bucket: int, buckets: int) -> str:
    return f"bucket={bucket:0{max(2, len(str(buckets - 1)))}d}"


def _partition(samples: pd.DataFrame, buckets: int) -> Iterator[tuple[str, Any]]:
    """The folder and rows of each part, rows in the order of the frame: sorted by job and time."""
    starts = schema.changes(samples["job_id"].array)
    of_job = np.array([job_bucket(job_id, buckets) for job_id in samples["job_id"].iloc[starts]], dtype=np.int64)
    bucket = np.repeat(of_job, np.diff(starts, append=len(samples)))
    day = pd.DatetimeIndex(samples["sampled_at"]).asi8 // _DAY_NS
    order = np.lexsort((day, bucket))
    begins = np.flatnonzero(np.diff(bucket[order]) | np.diff(day[order])) + 1
    for rows in np.split(order, begins) if len(order) else []:
        date = np.datetime64(int(day[rows[0]]), "D")
        yield f"{_bucket_folder(int(bucket[rows[0]]), buckets)}/day={date}", rows


def _put(storage: Any, file: str, content: bytes | memoryview) -> None:
    """Write a file that is there as a whole or not at all."""
    from fsspec.implementations.local import LocalFileSystem

    storage.makedirs(file.rpartition("/")[0], exist_ok=True)
    if isinstance(storage, LocalFileSystem):
        parquet.put(Path(file), content)
    else:
        storage.pipe_file(file, bytes(content))  # an object store shows an object when all of it has arrived


def _read(storage: Any, files: Sequence[str], job_ids: list[str] | None = None) -> pd.DataFrame:
    """The samples of some files, in the order of `schema`; of these jobs alone where they are given."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    filters = None if job_ids is None else [("job_id", "in", job_ids)]
    tables = []
    for file in files:
        try:
            # One request for the whole file: nearly all columns are needed.
            content = pa.BufferReader(storage.cat_file(file))
            tables.append(parquet.with_seconds(pq.read_table(content, filters=filters, use_threads=False)))
        except (pa.ArrowException, OSError) as error:
            raise StoreError(f"{file} is damaged: {error}; restore it, or write its samples again") from None
    if not tables:
        return schema.to_frame([])
    try:
        samples = pa.concat_tables(tables, promote_options="permissive").to_pandas()
    except pa.ArrowException as error:
        raise SchemaError(f"a column has other types in other files of the dataset: {error}") from None
    return schema.validate(samples).reset_index(drop=True)
