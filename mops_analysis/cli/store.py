"""`mops store`: check, copy or compact a sample store, also while it is written to."""

from __future__ import annotations

import argparse
from pathlib import Path

from mops_analysis.cli import OK
from mops_analysis.files import existing
from mops_analysis.store import SampleStore
from mops_analysis.store.segments import folder_of


def run(arguments: argparse.Namespace) -> int:
    """Check, copy or compact, and print what there is."""
    path = existing(arguments.store)
    with SampleStore(path) as store:
        if arguments.act == "backup":
            print(store.backup(arguments.to))
            return OK
        if arguments.act == "compact":
            moved, file = store.compact(), store.path
            print(f"{file}: {moved:,} samples moved to {folder_of(file)}; {_size(file)} in all")
            return OK
        store.check()
        jobs = store.jobs()
    polls, samples = jobs["polls"].sum(), jobs["samples"].sum()
    print(f"{path}: sound; {polls:,} polls, {samples:,} samples, {len(jobs):,} jobs")
    if len(jobs):
        print(f"from {_text(jobs['first_sampled_at'].min())} to {_text(jobs['last_sampled_at'].max())}")
    return OK


def _size(path: Path) -> str:
    files = [path, *folder_of(path).rglob("*.parquet")]
    size = sum(file.stat().st_size for file in files)
    return f"{size / 1e6:.1f} MB" if size >= 1e5 else f"{size / 1e3:.0f} kB"


def _text(time: object) -> str:
    return f"{time:%Y-%m-%d %H:%M:%S} UTC"
