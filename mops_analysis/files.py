"""Samples from files: a store, Parquet or CSV, and the recorded example."""

from __future__ import annotations

import os
import re
import zlib
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

from mops_analysis import parquet, schema
from mops_analysis.errors import SchemaError, StoreError
from mops_analysis.store import SampleStore

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["load_example", "read_samples"]

# The apostrophe that `export` puts in front of what a spreadsheet would take for a formula.
_QUOTED = re.compile(r"^'(?='*[=+\-@\t\r\n])")


def read_samples(path: str | os.PathLike[str]) -> pd.DataFrame:
    """Read the samples frame from a store or a file.

    Parameters
    ----------
    path
        A sample store (``.db``, ``.sqlite``), or a file with the columns of the samples frame: ``.parquet``, ``.csv``,
        ``.csv.gz``. Times in a CSV file need an offset.

    Returns
    -------
    DataFrame
        Frame as in `schema`; further columns of the file come after its own.

    Raises
    ------
    SchemaError
        If the ending is not one of these, or the file is damaged or no samples frame.
    StoreError
        If there is no such file, or it is not a sound sample store.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     load_example().to_csv(f"{folder}/samples.csv", index=False)
    ...     samples = read_samples(f"{folder}/samples.csv")
    >>> len(samples), samples["job_id"].nunique()
    (1613, 10)
    """
    file = existing(path)
    name = file.name.lower()
    if name.endswith((".db", ".sqlite", ".sqlite3")):
        with SampleStore(file) as store:
            return store.read_samples()
    if not name.endswith((".parquet", ".csv", ".csv.gz")):
        raise SchemaError(f"{file}: expected a file ending in .db, .parquet, .csv or .csv.gz")
    try:
        frame = _read_parquet(file) if name.endswith(".parquet") else _read_csv(file)
    except (SchemaError, StoreError):
        raise
    except (ValueError, EOFError, OSError, zlib.error) as error:
        raise SchemaError(f"{file} cannot be read: {error}") from None
    return schema.validate(frame).reset_index(drop=True)


def existing(path: str | os.PathLike[str]) -> Path:
    """Return the path of a file that is there; StoreError where it is not."""
    file = Path(path)
    if file.is_dir():
        raise StoreError(f"{file} is a folder; expected a file")
    if not file.is_file():
        raise StoreError(f"{file}: there is no such file")
    return file


def _read_csv(file: Path) -> pd.DataFrame:
    import pandas as pd

    text = dict.fromkeys(("job_id", "status", "label"), "string")
    # "NA" may be a job; what may be missing leaves its place empty.
    empty = {name: [""] for name in ("label", "progress_percentage", "latency_s")}
    frame = pd.read_csv(file, dtype=text, keep_default_na=False, na_values=empty)
    plain = {name: frame[name].str.replace(_QUOTED, "", regex=True) for name in text if name in frame}
    return _with_times(frame.assign(**plain))


def _read_parquet(file: Path) -> pd.DataFrame:
    try:
        import pyarrow.parquet as pq
    except ImportError:
        raise SchemaError(
            f'{file}: reading Parquet needs pyarrow; install it with: pip install "mops_analysis[parquet]"'
        ) from None
    with pq.ParquetFile(file) as opened:
        return _with_times(parquet.with_seconds(opened.read()).to_pandas())


def _with_times(frame: pd.DataFrame) -> pd.DataFrame:
    import pandas as pd

    if "sampled_at" not in frame or not pd.api.types.is_string_dtype(frame["sampled_at"].dtype):
        return frame
    return frame.assign(sampled_at=schema.aware_times(frame["sampled_at"]))


def load_example() -> pd.DataFrame:
    """Read the recorded run that comes with the package: ten jobs, with labels, and gaps as they happen.

    Returns
    -------
    DataFrame
        Frame as in `schema`, with the further column `label`.

    Examples
    --------
    >>> load_example()["job_id"].nunique()
    10
    """
    with resources.as_file(resources.files("mops_analysis").joinpath("data", "example.csv.gz")) as file:
        return read_samples(file)
