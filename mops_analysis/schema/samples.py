"""The samples frame: made of records, checked, brought into order."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from mops_analysis.errors import SchemaError
from mops_analysis.schema.words import SAMPLE_DTYPES, status_word

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pandas as pd
    from pandas.api.extensions import ExtensionArray


def to_frame(records: Iterable[Mapping[str, Any]]) -> pd.DataFrame:
    """Build the samples frame from records.

    Parameters
    ----------
    records
        Mappings with the keys of `SAMPLE_DTYPES`; `sampled_at` is an aware datetime or an ISO string with offset.
        Further keys become further columns.

    Returns
    -------
    DataFrame
        One row per record, sorted by `job_id` and `sampled_at`, RangeIndex; the eight columns come first, also for no
        records at all.

    Raises
    ------
    SchemaError
        If a record is no mapping, a key is missing, a time is naive, or a value does not fit its dtype.

    Examples
    --------
    >>> frame = to_frame([{"job_id": "job-1", "sampled_at": "2026-11-18T14:00:00+00:00", "status": "COMPLETED",
    ...                    "progress_percentage": 100, "processed_items": 10, "total_items": 10, "failed_items": 0,
    ...                    "latency_s": 0.1}])
    >>> frame.loc[0, "status"], str(frame.loc[0, "sampled_at"])
    ('completed', '2026-11-18 14:00:00+00:00')
    """
    import pandas as pd

    try:
        rows = [dict(record) for record in records]
    except (TypeError, ValueError):
        raise SchemaError(f"expected records: mappings with the keys {', '.join(SAMPLE_DTYPES)}") from None
    frame = pd.DataFrame(rows) if rows else pd.DataFrame({name: [] for name in SAMPLE_DTYPES})
    _require_columns(frame)
    if not rows:
        return frame.astype(SAMPLE_DTYPES)
    if frame["sampled_at"].dtype == object or pd.api.types.is_string_dtype(frame["sampled_at"]):
        frame["sampled_at"] = aware_times(frame["sampled_at"])
    frame["status"] = frame["status"].map(lambda word: status_word(word) if isinstance(word, str) else word)
    return validate(frame).reset_index(drop=True)


def aware_times(times: pd.Series[Any]) -> pd.Series[Any]:
    """Times from aware datetimes or ISO strings with offset; SchemaError where one has no zone, or is none."""
    import pandas as pd

    try:
        parsed = [pd.Timestamp(time) for time in times]
        is_naive = any(pd.isna(time) or time.tzinfo is None for time in parsed)
        instants = None if is_naive else pd.to_datetime(parsed, utc=True).as_unit("ns")
    except (ValueError, TypeError) as error:  # also what nanoseconds cannot count
        raise SchemaError(f"column 'sampled_at': expected times of the years 1678 to 2261; {error}") from None
    if instants is None:
        raise SchemaError(_NAIVE)
    return pd.Series(instants, index=times.index)


_NAIVE = (
    "column 'sampled_at': expected times with a zone, got naive or missing ones; "
    "say which zone they are in: samples['sampled_at'].dt.tz_localize('Europe/Berlin'), or 'UTC'"
)


def _require_columns(frame: pd.DataFrame) -> None:
    if not frame.columns.is_unique:
        twice = frame.columns[frame.columns.duplicated()][0]
        raise SchemaError(f"column {twice!r} is there twice; keep one: samples.loc[:, ~samples.columns.duplicated()]")
    missing = [name for name in SAMPLE_DTYPES if name not in frame.columns]
    if missing:
        raise SchemaError(
            f"column {missing[0]!r} is missing (of the samples frame: {', '.join(SAMPLE_DTYPES)}); "
            f"the frame has {', '.join(map(str, frame.columns)) or 'no columns'}. "
            "Read samples with read_samples(), build them with schema.to_frame(), or rename your columns: "
            "samples.rename(columns={'yours': 'job_id'})"
        )


def validate(samples: pd.DataFrame) -> pd.DataFrame:
    """Check that a frame is a samples frame, and bring it into order.

    Parameters
    ----------
    samples
        Any frame. It is not changed.

    Returns
    -------
    DataFrame
        The same rows under the same index labels, sorted by `job_id` and `sampled_at`, with exactly the dtypes of
        `SAMPLE_DTYPES`, those columns first; the very same object where nothing had to be done.

    Raises
    ------
    SchemaError
        If a column is missing, a time is naive, or a dtype cannot be converted without loss. The message names the
        column and the cure.

    Examples
    --------
    >>> import pandas as pd
    >>> validate(pd.DataFrame({"job_id": ["job-1"]}))
    Traceback (most recent call last):
    ...
    mops_analysis.errors.SchemaError: column 'sampled_at' is missing (of the samples frame: job_id, sampled_at, ...
    """
    return in_order(check(samples))


def check(samples: pd.DataFrame) -> pd.DataFrame:
    """Check as `validate` does, without sorting."""
    import pandas as pd

    if not isinstance(samples, pd.DataFrame):
        raise SchemaError(f"expected a samples frame (pandas DataFrame), got {type(samples).__name__}")
    _require_columns(samples)
    changed = {
        name: _as_dtype(samples[name], dtype)
        for name, dtype in SAMPLE_DTYPES.items()
        if str(samples[name].dtype) != dtype
    }
    checked = samples.assign(**changed) if changed else samples
    if checked["sampled_at"].isna().any():
        raise SchemaError(_NAIVE)
    for name in ("job_id", "status"):
        if checked[name].isna().any():
            raise SchemaError(
                f"column {name!r}: expected text, some of it is missing; drop those rows: samples.dropna()"
            )
    if list(checked.columns[: len(SAMPLE_DTYPES)]) != list(SAMPLE_DTYPES):
        checked = checked[[*SAMPLE_DTYPES, *(name for name in checked.columns if name not in SAMPLE_DTYPES)]]
    return checked


def require(frame: object, columns: Iterable[str], expected: str) -> None:
    """Refuse what is no frame with these columns; `expected` says in words what it should be."""
    import pandas as pd

    if not isinstance(frame, pd.DataFrame):
        raise SchemaError(f"{expected}, got {type(frame).__name__}")
    if missing := [name for name in columns if name not in frame]:
        raise SchemaError(f"{expected}; column {missing[0]!r} is missing")


def in_order(frame: pd.DataFrame) -> pd.DataFrame:
    """Return a frame that has `job_id` and `sampled_at` sorted by both; the very same object where it already is."""
    return by_job(frame)[0]


def by_job(frame: pd.DataFrame) -> tuple[pd.DataFrame, npt.NDArray[np.int64]]:
    """Return the frame as `in_order` does, and the first row of each job in it."""
    import numpy as np
    import pandas as pd

    first = changes(frame["job_id"].array)
    if _is_ordered(frame, first):
        return frame, first
    job = pd.factorize(frame["job_id"], sort=True)[0]
    order = np.lexsort((pd.DatetimeIndex(frame["sampled_at"]).asi8, job))
    return frame.take(order), np.flatnonzero(np.diff(job[order], prepend=-1))


def changes(words: ExtensionArray) -> npt.NDArray[np.int64]:
    """Positions at which the word is another than the one before; the first is one."""
    import numpy as np

    found = [np.zeros(min(len(words), 1), dtype=np.int64)]
    for start in range(1, len(words), _BLOCK):
        here = words[start : start + _BLOCK]
        before = words[start - 1 : start - 1 + len(here)]
        # Words change seldom, and whether any does is known in a third of the time.
        if not here.equals(before):  # type: ignore[attr-defined]  # pandas has it, its stubs do not
            found.append(start + np.flatnonzero(np.asarray(here != before, dtype=bool)))
    return np.concatenate(found)


_BLOCK = 65_536


def is_ordered(samples: pd.DataFrame) -> bool:
    """Whether the rows are sorted by job and time."""
    return _is_ordered(samples, changes(samples["job_id"].array))


def _is_ordered(samples: pd.DataFrame, starts: npt.NDArray[np.int64]) -> bool:
    """Whether they are, where a row at each of the starts has another job than the one before."""
    import numpy as np
    import pandas as pd

    jobs = samples["job_id"].iloc[starts]
    time_ns = pd.DatetimeIndex(samples["sampled_at"]).asi8
    falls = np.flatnonzero(time_ns[1:] < time_ns[:-1]) + 1
    return bool(jobs.is_monotonic_increasing and jobs.is_unique and np.isin(falls, starts).all())


def _as_dtype(column: pd.Series[Any], dtype: str) -> pd.Series[Any]:
    import pandas as pd

    name = column.name
    converted: pd.Series[Any]
    if dtype.startswith("datetime"):
        return _as_times(column)
    if dtype == "string":
        is_text = isinstance(column.dtype, pd.StringDtype) or pd.api.types.infer_dtype(column, skipna=False) == "string"
        if len(column) and not is_text:
            raise SchemaError(f"column {name!r}: expected text, got {column.dtype}; use .astype('string')")
        return column.astype("string")
    types = pd.api.types
    is_number = types.is_numeric_dtype(column.dtype) and not types.is_complex_dtype(column.dtype)
    if len(column) and (types.is_bool_dtype(column.dtype) or not is_number):
        raise SchemaError(f"column {name!r}: expected {dtype}, got {column.dtype}; use pandas.to_numeric()")
    try:
        converted = column.astype(pd.api.types.pandas_dtype(dtype))
    except (ValueError, TypeError, OverflowError):
        lossless = False
    else:
        lossless = dtype == "float64" or bool((converted == column).all())
    if not lossless:
        raise SchemaError(
            f"column {name!r}: expected whole numbers without gaps ({dtype}), got {column.dtype} with other values; "
            "leave out the rows that are no samples: samples.dropna()"
        )
    return converted


def _as_times(column: pd.Series[Any]) -> pd.Series[Any]:
    import pandas as pd

    if not pd.api.types.is_datetime64_any_dtype(column.dtype):
        raise SchemaError(
            f"column 'sampled_at': expected times with a zone, got {column.dtype}; "
            "make times of it: pandas.to_datetime(samples['sampled_at'], utc=True) where it says the zone, "
            "else pandas.to_datetime(samples['sampled_at']).dt.tz_localize('Europe/Berlin')"
        )
    times = pd.DatetimeIndex(column)  # also of times that Arrow holds
    if times.tz is None:
        raise SchemaError(_NAIVE)
    try:
        return pd.Series(times.tz_convert("UTC").as_unit("ns"), index=column.index, name=column.name)
    except ValueError as error:
        raise SchemaError(f"column 'sampled_at': expected times of the years 1678 to 2261; {error}") from None
