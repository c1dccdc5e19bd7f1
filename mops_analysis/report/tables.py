"""Tables and charts as files: CSV, Parquet, XLSX, Markdown; PNG, SVG, PDF."""

from __future__ import annotations

import importlib
import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mops_analysis import __version__
from mops_analysis.errors import ConfigurationError, SchemaError

#: Rows of a worksheet below its header.
EXCEL_ROWS = 1_048_575

# Text that begins like this is a formula to a spreadsheet (OWASP, "CSV Injection"). With the apostrophes that it may
# have itself, so that `read_samples` knows which one was put in front.
_FORMULA = re.compile(r"^'*[=+\-@\t\r\n]")
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f]")


# What Markdown or HTML would take for markup.
_MARKUP = re.compile(r"([\\`*\[\]<>|#~]|\b_|_\b)")


def export(
    frame: pd.DataFrame | Mapping[str, pd.DataFrame] | Axes | Figure,
    path: str | os.PathLike[str],
    *,
    about: str | None = None,
) -> Path:
    """Write tables or a chart to a file: samples, what a metric returned, what a `plot_*` function drew.

    Text that a spreadsheet would take for a formula, such as a job id that begins with "=", gets an apostrophe in
    front in CSV and XLSX, which `read_samples` takes away; Parquet keeps everything as it is, and is the smallest and
    fastest.

    Parameters
    ----------
    frame
        Any frame, without its index; several under their names, for XLSX (a sheet each) and Markdown (a heading each);
        or a chart.
    path
        The file to write; its ending says how: ``.csv``, ``.csv.gz``, ``.parquet``, ``.xlsx`` or ``.md``, for charts
        ``.png``, ``.svg`` or ``.pdf``. An older file is replaced. A worksheet knows no zones: there, an aware time is
        written as the clock of its own zone, with a column beside it that names the zone; a last sheet has the unit of
        each column.
    about
        What it rests on, such as "1,613 samples of samples.db". Pictures and Parquet keep it in their metadata, beside
        the version; pictures also have their title and what they show in words, which names the zone.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    ConfigurationError
        If the ending is none of these, or the package that writes it is not installed.
    SchemaError
        If it is neither frame nor chart, or has more rows than a worksheet.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     export(pd.DataFrame({"job_id": ["job-1", "=1+1"]}), f"{folder}/jobs.csv").read_text().split()
    ['job_id', 'job-1', "'=1+1"]
    """
    file = Path(path)
    if isinstance(frame, Axes | Figure):
        write_picture(frame, file, about)
        return file
    tables = dict(frame) if isinstance(frame, Mapping) else {"data": frame}
    for table in tables.values():
        if not isinstance(table, pd.DataFrame):
            raise SchemaError(f"expected a frame (pandas DataFrame), got {type(table).__name__}")
    name = file.name.lower()
    if name.endswith(".xlsx"):
        require("openpyxl", "excel")
        _write_excel(tables, file)
    elif name.endswith(".md"):
        titled = isinstance(frame, Mapping)
        parts = [f"## {markdown_text(title)}\n\n{to_markdown(each)}" for title, each in tables.items()]
        file.write_text("\n".join(parts) if titled else to_markdown(tables["data"]), encoding="utf-8")
    elif not name.endswith((".csv", ".csv.gz", ".parquet")):
        raise ConfigurationError(
            f"{file}: expected a file ending in .csv, .csv.gz, .parquet, .xlsx or .md, for a chart .png, .svg or .pdf"
        )
    elif len(tables) != 1:
        raise ConfigurationError(f"{file}: several tables need a file ending in .xlsx or .md")
    else:
        _write_table(next(iter(tables.values())), file, about)
    return file


def _write_table(frame: pd.DataFrame, file: Path, about: str | None) -> None:
    if not file.name.lower().endswith(".parquet"):
        _inert(frame).to_csv(file, index=False)
        return
    require("pyarrow", "parquet")
    import pyarrow as pa
    from pyarrow import parquet

    table = pa.Table.from_pandas(frame, preserve_index=False)
    ours = {"version": f"mops_analysis {__version__}", "rows": len(frame), "about": about, "zones": _zones(frame)}
    # pandas reads `attrs` back from this place.
    attrs = {"PANDAS_ATTRS": json.dumps(frame.attrs)} if frame.attrs else {}
    kept = table.schema.metadata or {}
    parquet.write_table(table.replace_schema_metadata({**kept, **attrs, "mops_analysis": json.dumps(ours)}), file)


def _zones(frame: pd.DataFrame) -> dict[str, str]:
    dtypes = frame.dtypes.items()
    return {str(name): str(dtype.tz) for name, dtype in dtypes if isinstance(dtype, pd.DatetimeTZDtype)}


def write_picture(picture: Axes | Figure, file: Path, about: str | None = None) -> None:
    """Write a chart as PNG, SVG or PDF, with what it shows in its metadata."""
    figure = picture.get_figure(root=True)
    assert figure is not None  # noqa: S101  a chart has one
    words = str(picture.get_label())
    title = picture.get_title(loc="left") if isinstance(picture, Axes) else words.split(":")[0]
    said = " ".join(filter(None, (words, f"From {about}." if about else "")))
    maker = f"mops_analysis {__version__}"
    metadata = {
        ".png": {"Title": title, "Description": said, "Software": maker},
        ".svg": {"Title": title, "Description": said, "Creator": maker},
        ".pdf": {"Title": title, "Subject": said, "Creator": maker},
    }.get(file.suffix.lower())
    if metadata is None:
        raise ConfigurationError(f"{file}: expected a file ending in .png, .svg or .pdf")
    figure.savefig(file, dpi=200, metadata=metadata, facecolor=figure.get_facecolor())


def to_markdown(frame: pd.DataFrame) -> str:
    r"""Return a frame as a Markdown table, its numbers to the right; nothing in it is markup.

    Examples
    --------
    >>> print(to_markdown(pd.DataFrame({"job": ["a|b"], "rate": [0.125]})))
    | job | rate |
    | --- | ---: |
    | a\|b | 0.125 |
    <BLANKLINE>
    """
    numeric = [pd.api.types.is_numeric_dtype(dtype) for dtype in frame.dtypes]
    lines = [[markdown_text(str(name)) for name in frame.columns]]
    lines += [["---:" if is_number else "---" for is_number in numeric]]
    lines += [[_cell_text(value) for value in row] for row in frame.itertuples(index=False, name=None)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _cell_text(value: Any) -> str:
    if pd.api.types.is_scalar(value) and pd.isna(value):
        return ""
    if isinstance(value, float):
        return f"{value:.6g}"
    return markdown_text(value.isoformat(sep=" ", timespec="seconds") if isinstance(value, pd.Timestamp) else value)


def markdown_text(value: Any) -> str:
    r"""Return a value as text that Markdown shows as it is, on one line.

    Examples
    --------
    >>> print(markdown_text("<b>|job_1"))
    \<b\>\|job_1
    """
    return _MARKUP.sub(r"\\\1", re.sub(r"[\s\x00-\x1f]+", " ", str(value)))


def require(package: str, extra: str) -> None:
    """Raise ConfigurationError with the cure where a package of an extra is not installed."""
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


def _write_excel(tables: Mapping[str, pd.DataFrame], file: Path) -> None:
    for frame in tables.values():
        if len(frame) > EXCEL_ROWS:
            raise SchemaError(
                f"{file}: a worksheet has {EXCEL_ROWS:,} rows, the frame {len(frame):,}; "
                "write .parquet or .csv.gz instead"
            )
    with pd.ExcelWriter(file, engine="openpyxl", datetime_format="YYYY-MM-DD HH:MM:SS.000") as writer:
        units = []
        for name, frame in tables.items():
            sheet, columns = _SHEET_NAME.sub(" ", str(name))[:31] or "data", _sheet_columns(frame)
            _write_sheet(writer, sheet, columns, frame.index)
            units += [(sheet, column, unit_of(column, values)) for column, values in columns.items()]
        dictionary = pd.DataFrame(units, columns=["sheet", "column", "unit"])
        _write_sheet(writer, "columns", dict(dictionary.items()), dictionary.index)
        writer.book.properties.creator = f"mops_analysis {__version__}"


# What a sheet's name must not have in it.
_SHEET_NAME = re.compile(r"[\[\]:*?/\\']")


def _sheet_columns(frame: pd.DataFrame) -> dict[str, pd.Series[Any]]:
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
    return columns


def _write_sheet(writer: pd.ExcelWriter[Any], name: str, columns: Mapping[Any, pd.Series[Any]], index: Any) -> None:
    pd.DataFrame(columns, index=index).to_excel(writer, sheet_name=name, index=False, freeze_panes=(1, 0))
    sheet = writer.sheets[name]
    for position, (column, values) in enumerate(columns.items(), start=1):
        is_time = pd.api.types.is_datetime64_any_dtype(values.dtype)
        sheet.column_dimensions[sheet.cell(1, position).column_letter].width = 24 if is_time else len(str(column)) + 3


def unit_of(name: str, column: pd.Series[Any]) -> str:
    """Say the unit of a column. Its name carries it, as `schema` says of all names.

    Examples
    --------
    >>> unit_of("mean_items_per_s", pd.Series([1.5])), unit_of("failure_rate_low", pd.Series([0.1]))
    ('items per second', 'share, 0 to 1')
    """
    if pd.api.types.is_datetime64_any_dtype(column.dtype):
        return "time"
    if pd.api.types.is_bool_dtype(column.dtype):
        return "true or false"
    if _is_text(column):
        return "text"
    return next((unit for ending, unit in _UNITS.items() if re.search(ending, name)), "")


_UNITS = {
    r"items_per_s$": "items per second",
    r"_s$": "seconds",
    r"percentage$": "percent",
    r"_items$|^failed$|^finished$": "items",
    r"^share_|^failure_rate": "share, 0 to 1",
    r"^change$": "ratio less 1",
    r"log_error$": "natural logarithm of a ratio",
    r"^samples$|^anomalies$|^jobs_before$": "count",
    r"^days$": "days",
    r"^(value|median|low|high)$": "that of the measure",
}


def _without_control(value: object) -> object:
    return _CONTROL.sub("�", value) if isinstance(value, str) else value
