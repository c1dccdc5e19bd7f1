"""`mops`: the toolkit on the command line. The only place that prints, reads argv, or picks an exit code.

Human output goes to stderr, machine output to stdout. Exit codes: 0 ended well, 2 usage, 3 sign in (401), 4 forbidden
(403), 5 ended badly or client error, 6 quota (402), 7 timeout or server trouble, 8 local fault and nothing sent,
130 interrupted.
"""

from __future__ import annotations

import argparse
import importlib
import sys
import warnings
from collections.abc import Sequence
from typing import NoReturn

from mops_analysis import __version__
from mops_analysis.errors import ConfigurationError, MopsError, SchemaError, StoreError

__all__ = ["build_parser", "exit_code_of", "main"]

OK, USAGE, SIGN_IN, FORBIDDEN, BAD_END, QUOTA, TROUBLE, LOCAL, INTERRUPTED = 0, 2, 3, 4, 5, 6, 7, 8, 130

_EXIT_CODES = {
    "auth": SIGN_IN,
    "forbidden": FORBIDDEN,
    "not_found": BAD_END,
    "client": BAD_END,
    "quota": QUOTA,
    "timed_out": TROUBLE,
    "gave_up": TROUBLE,
    "stopped": INTERRUPTED,
}

CHARTS = (
    *("progress", "throughput", "eta", "failures"),
    *("comparison", "failures-by-job", "timeline", "heatmap", "throughput-by", "tear-sheet"),
)
TABLES = ("samples", "polls", "summary", "throughput", "eta", "failures", "anomalies", "counting")


def exit_code_of(fault: str) -> int:
    """Return the exit code for an outcome of a watch, or the kind of a fault."""
    return _EXIT_CODES.get(fault, TROUBLE)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    arguments = build_parser().parse_args(argv)
    warnings.showwarning = _show_warning
    try:
        command = importlib.import_module(f"mops_analysis.cli.{arguments.module}")
        return int(command.run(arguments))
    except (ConfigurationError, StoreError, SchemaError) as error:
        return _say(error, LOCAL)
    except MopsError as error:
        return _say(error, exit_code_of(error.kind))
    except ImportError as error:
        return _say(error, LOCAL)
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:  # the reader of our output has gone, as in `mops jobs | head`
        sys.stderr.close()
        return OK
    except OSError as error:  # a folder that is missing, or may not be written to
        return _say(error, LOCAL)


def _say(error: Exception, code: int) -> int:
    print(f"mops: {error}", file=sys.stderr)
    return code


def _show_warning(message: Warning | str, *_: object, **__: object) -> None:
    print(f"mops: warning: {message}", file=sys.stderr)


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.print_usage(sys.stderr)
        self.exit(USAGE, f"mops: {message}; see {self.prog} --help\n")


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of all commands."""
    parser = _Parser(
        prog="mops",
        description="Sample MerchantOps job status over time; chart throughput, ETA and failure rates.",
        epilog="Credentials come from the environment: MERCHANTOPS_TOKEN, else MERCHANTOPS_API_KEY; "
        "MERCHANTOPS_ORGANIZATION_ID; MERCHANTOPS_SESSION. The service: MERCHANTOPS_API_URL. "
        "Exit codes: 0 ended well, 2 usage, 3 sign in, 4 forbidden, 5 ended badly or refused, 6 quota, "
        "7 timed out or trouble at the service, 8 local fault, 130 interrupted.",
    )
    parser.add_argument("--version", action="version", version=f"mops {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    _add_watch(commands)
    _add_jobs(commands)
    _add_chart(commands)
    _add_report(commands)
    _add_export(commands)
    _add_store(commands)
    _add_simulate(commands)
    _add_demo(commands)
    _add_lab(commands)
    _add_dashboard(commands)
    _add_doctor(commands)
    return parser


_Commands = argparse._SubParsersAction  # argparse has no public name for it


def _add(commands: _Commands[_Parser], name: str, module: str, text: str) -> _Parser:
    command = commands.add_parser(name, help=text, description=f"{text[0].upper()}{text[1:]}.")
    command.set_defaults(module=module, command=name)
    return command


def _add_source(command: _Parser) -> None:
    command.add_argument("job_ids", nargs="*", metavar="JOB_ID", help="the jobs; all of the store if none is named")
    command.add_argument(
        "--store",
        default="samples.db",
        metavar="FILE",
        help="a store, or a .parquet or .csv file of samples (%(default)s)",
    )


def _add_zone(command: _Parser) -> None:
    command.add_argument("--tz", metavar="ZONE", help="time zone to show, such as Europe/Berlin (this machine's)")


def _positive(text: str) -> float:
    number = float(text)
    if not 0 < number < float("inf"):
        raise ValueError
    return number


_positive.__name__ = "number above zero"  # argparse names the type in its message


def _add_watch(commands: _Commands[_Parser]) -> None:
    command = _add(commands, "watch", "watch", "sample jobs until every one has ended")
    command.add_argument("job_ids", nargs="+", metavar="JOB_ID", help="the jobs, as the service calls them")
    for option, default, about in (
        ("--interval", 3.0, "between two polls of a job"),
        ("--timeout", 900.0, "the longest time to watch"),
        ("--deadline", 10.0, "the longest one reply takes"),
        ("--read-timeout", 10.0, "the longest silence within a reply"),
    ):
        command.add_argument(
            option, type=_positive, default=default, metavar="S", help=f"{about}, seconds ({default:g})"
        )
    command.add_argument("--store", default="samples.db", metavar="FILE", help="where samples are kept (%(default)s)")
    command.add_argument(
        "--fail-on-review",
        action="store_true",
        help="exit with 5 if a job waits for a human; polling stops there anyway",
    )


def _add_jobs(commands: _Commands[_Parser]) -> None:
    command = _add(commands, "jobs", "output", "list the jobs of a store, one line each")
    _add_source(command)
    _add_zone(command)


def _add_chart(commands: _Commands[_Parser]) -> None:
    command = _add(commands, "chart", "output", "draw one chart")
    command.add_argument("kind", metavar="KIND", choices=CHARTS, help=f"what to draw: {', '.join(CHARTS)}")
    _add_source(command)
    command.add_argument("--out", required=True, metavar="FILE", help="a file ending in .png, .svg or .pdf")
    command.add_argument("--window", default="2min", help="width of the window, in charts of rates (%(default)s)")
    command.add_argument("--theme", choices=("light", "dark"), default="light")
    _add_zone(command)


def _add_report(commands: _Commands[_Parser]) -> None:
    command = _add(commands, "report", "output", "write a report: one file with tables and charts")
    _add_source(command)
    command.add_argument("--out", metavar="FILE", help="a file ending in .html, .md or .pdf (report.html)")
    command.add_argument(
        "--format", choices=("html", "md", "pdf"), default="html", help="of the file, where --out names none"
    )
    command.add_argument("--title", help="what to call it")
    command.add_argument("--window", default="2min", help="width of the throughput window (%(default)s)")
    command.add_argument(
        "--notebook", action="store_true", help="run the notebook about throughput instead, and write it as HTML"
    )
    _add_zone(command)


def _add_export(commands: _Commands[_Parser]) -> None:
    command = _add(commands, "export", "output", "write a table")
    _add_source(command)
    command.add_argument(
        "--out", required=True, metavar="FILE", help="a file ending in .csv, .csv.gz, .parquet, .xlsx or .md"
    )
    command.add_argument(
        "--what", metavar="TABLE", choices=TABLES, default="samples", help=f"{', '.join(TABLES)} (%(default)s)"
    )
    command.add_argument("--window", default="2min", help="width of the window, in tables of rates (%(default)s)")


def _add_store(commands: _Commands[_Parser]) -> None:
    command = _add(commands, "store", "store", "check, copy or compact a store, also while it is written to")
    acts = command.add_subparsers(metavar="ACT", required=True, dest="act")
    about = "Look for damage, and count what is in it."
    check = acts.add_parser("check", help="look for damage, and count what is in it", description=about)
    check.add_argument("store", nargs="?", default="samples.db", metavar="FILE", help="the store (%(default)s)")
    about = "Copy a store, whole, also while a sampler writes to it."
    backup = acts.add_parser("backup", help="copy it, whole, also while a sampler runs", description=about)
    backup.add_argument("store", metavar="FILE", help="the store")
    backup.add_argument("to", metavar="TO", help="the copy; must not exist yet")
    about = "Move the samples so far into Parquet files beside the store: a fifth of the bytes, read far faster."
    compact = acts.add_parser("compact", help="move its samples into sorted Parquet files beside it", description=about)
    compact.add_argument("store", nargs="?", default="samples.db", metavar="FILE", help="the store (%(default)s)")


def _add_simulate(commands: _Commands[_Parser]) -> None:
    command = _add(commands, "simulate", "simulate", "run a local service that speaks the documented contract")
    command.add_argument("--port", type=int, default=0, help="0 picks a free one (%(default)s)")
    command.add_argument("--speed", type=_positive, default=60.0, help="simulated seconds per second (60)")
    command.add_argument("--seed", type=int, default=0, help="another seed, other jobs (%(default)s)")
    command.add_argument("--auth", action="store_true", help="ask for the token that MERCHANTOPS_TOKEN holds")
    command.add_argument("--any-job", action="store_true", help="every job id exists")


def _add_demo(commands: _Commands[_Parser]) -> None:
    command = _add(commands, "demo", "demo", "sample six simulated jobs and write charts, tables and a report")
    command.add_argument("--out", default="demo", metavar="DIR", help="where to write (%(default)s)")
    command.add_argument("--speed", type=_positive, default=75.0, help="simulated seconds per second (75)")
    _add_zone(command)


def _add_lab(commands: _Commands[_Parser]) -> None:
    command = _add(commands, "lab", "lab", "open the notebooks in JupyterLab")
    command.add_argument("--dir", metavar="DIR", help="where to work: copies of the notebooks are put there")
    command.add_argument("--no-browser", action="store_true", help="print the address instead of opening a browser")


def _add_dashboard(commands: _Commands[_Parser]) -> None:
    command = _add(commands, "dashboard", "dashboard", "show the jobs of a store live, as a web page on this computer")
    command.add_argument("--store", default="samples.db", metavar="FILE", help="the store to follow (%(default)s)")
    command.add_argument("--simulate", action="store_true", help="show simulated jobs instead")
    command.add_argument("--window", default="2min", help="width of the trailing windows (%(default)s)")
    command.add_argument("--theme", choices=("light", "dark"), default="light")
    command.add_argument("--port", type=int, default=8866, help="where to serve it (%(default)s)")
    command.add_argument("--no-browser", action="store_true", help="print the address instead of opening a browser")
    _add_zone(command)


def _add_doctor(commands: _Commands[_Parser]) -> None:
    _add(commands, "doctor", "doctor", "say what is configured and whether the service answers")
