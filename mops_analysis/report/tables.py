"""Tables as files: CSV, Parquet, XLSX."""

from __future__ import annotations

import importlib
import os
import re
from pathlib import Path
from typing import Any

import pandas as pd

from mops_analysis.errors import ConfigurationError, SchemaError

#: Rows of a worksheet below its header.
EXCEL_ROWS = 1_048_575

# Text that begins like this is a formula to a spreadsheet (OWASP, "CSV Injection").
_FORMULA = re.compile(r"^[=+\-@\t\r\n]")
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f]")


def export(frame: pd.DataFrame, path: str | os.PathLike[str]) -> Path:
    """Write a frame to a file: samples, or what a metric returned.

    Text that a spreadsheet would take for a formula, such as a job id that begins with "=", gets an apostrophe in
    front in CSV and XLSX; Parquet keeps everything as it is, and is the smallest and fastest.

    Parameters
    ----------
    frame
        Any frame. Its index is not written.
    path
        The file to write; its ending says how: ``.csv``, ``.csv.gz``, ``.parquet`` or ``.xlsx``. An older file is
        replaced. A worksheet knows no zones: there, an aware time is written as the clock of its own zone, with a
        column beside it that names the zone.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    ConfigurationError
        If the ending is none of these, or the package that writes it is not installed.
    SchemaError
        If it is no frame, or has more rows than a worksheet.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     export(pd.DataFrame({"job_id": ["job-1", "=1+1"]}), f"{folder}/jobs.csv").read_text().split()
    ['job_id', 'job-1', "'=1+1"]
    """
    if not isinstance(frame, pd.DataFrame):
        raise SchemaError(f"expected a frame (pandas DataFrame), got {type(frame).__name__}")
    file = Path(path)
    name = file.name.lower()
    if name.endswith((".csv", ".csv.gz")):
        _inert(frame).to_csv(file, index=False)
    elif name.endswith(".parquet"):
        _require("pyarrow", "parquet")
        frame.to_parquet(file, index=False, engine="pyarrow")
    elif name.endswith(".xlsx"):
        _require("openpyxl", "excel")
        _write_excel(frame, file)
    else:
        raise ConfigurationError(f"{file}: expected a file ending in .csv, .csv.gz, .parquet or .xlsx")
    return file


def _require(package: str, extra: str) -> None:
    try:
        importlib.import_module(package)
    except ImportError:
        cure = f'pip install "mops_analysis[{extra}]"'
        raise ConfigurationError(f"this file needs the package {package}, which is not installed: {cure}") from None


def _inert(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the frame with every text as text: no cell and no column name is a formula."""
    columns = {name: frame[name] for name in frame.columns if _is_text(frame[name])}
    quoted = {name: column.map(_quoted, na_action="ignore") for name, column in columns.items()}
    return frame.assign(**quoted).rename(columns=lambda name: _quoted(str(name)))


def _is_text(column: pd.Series[Any]) -> bool:
    return bool(column.dtype == object or pd.api.types.is_string_dtype(column.dtype))


def _quoted(value: object) -> object:
    return f"'{value}" if isinstance(value, str) and _FORMULA.match(value) else value


def _write_excel(frame: pd.DataFrame, file: Path) -> None:
    if len(frame) > EXCEL_ROWS:
        raise SchemaError(
            f"{file}: a worksheet has {EXCEL_ROWS:,} rows, the frame {len(frame):,}; write .parquet or .csv.gz instead"
        )
    columns: dict[str, pd.Series[Any]] = {}
    for name, column in _inert(frame).items():
        if isinstance(column.dtype, pd.DatetimeTZDtype):
            # A worksheet's clock has milliseconds; rounded here, as openpyxl would warn of the nanoseconds.
            columns[str(name)] = column.dt.tz_localize(None).dt.round("ms")
            columns[f"{name}_zone"] = pd.Series(str(column.dtype.tz), index=frame.index)
        elif _is_text(column):
            columns[str(name)] = column.map(_without_control, na_action="ignore")
        else:
            columns[str(name)] = column
    with pd.ExcelWriter(file, engine="openpyxl", datetime_format="YYYY-MM-DD HH:MM:SS.000") as writer:
        pd.DataFrame(columns, index=frame.index).to_excel(writer, sheet_name="data", index=False, freeze_panes=(1, 0))
        sheet = writer.sheets["data"]
        for position, (name, column) in enumerate(columns.items(), start=1):
            is_time = pd.api.types.is_datetime64_any_dtype(column.dtype)
            sheet.column_dimensions[sheet.cell(1, position).column_letter].width = 24 if is_time else len(name) + 3


def _without_control(value: object) -> object:
    return _CONTROL.sub("�", value) if isinstance(value, str) else value
