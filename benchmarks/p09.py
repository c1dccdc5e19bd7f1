"""P9: loading samples into a frame from a compacted store, beside `pd.read_sql` on the table one would make first.

A million samples in turns; ten million each way in a process of its own, for the memory. What counts there is not the
first reading: fresh memory may cost three times what is done with it, where a virtual machine's host must find it.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

import pandas as pd

import mops_analysis as mops
from benchmarks.driver import Figure, in_turns, main, ratio
from benchmarks.fleet import samples
from benchmarks.stores import compacted, fill_naive, read_naive, repeat_naive

ROOT = Path(__file__).resolve().parent.parent
_TIMES = 10
_AGAIN = {"large.db": 3, "naive.db": 1}  # one takes half a minute


def measure(*, small: bool) -> list[Figure]:
    jobs, per_job, rounds = (20, 50, 1) if small else (1000, 1000, 7)
    with tempfile.TemporaryDirectory() as folder:
        naive = Path(folder) / "naive.db"
        frame = samples(jobs, per_job)
        fill_naive(naive, frame)
        with compacted(Path(folder) / "samples.db", frame) as store:
            pd.testing.assert_frame_equal(store.read_samples(), frame, check_exact=True)
            read = read_naive(naive).sort_values(["job_id", "sampled_at"], ignore_index=True)
            pd.testing.assert_frame_equal(read.astype(frame.dtypes), frame, check_exact=True)
            costs = in_turns({"store": store.read_samples, "naive": partial(read_naive, naive)}, rounds)
            large = [] if small else _large(Path(folder), naive, frame)
    what = f"CPU, read_sql / read_samples, {len(frame):,}"
    return [Figure("P9", what, 1 / ratio(costs, "store", "naive"), at_least=10), *large]


def _large(folder: Path, naive: Path, frame: pd.DataFrame) -> list[Figure]:
    n = _TIMES * len(frame)
    repeat_naive(naive, _TIMES)
    with compacted(folder / "large.db", frame, _TIMES):
        pass
    of_store, of_naive = _alone(folder / "large.db"), _alone(naive)
    assert of_store["sum"] == of_naive["sum"], "the two ways read different samples"
    what = f"CPU, read_sql / read_samples, {n:,} (the first time: {of_naive['first_s'] / of_store['first_s']:.1f})"
    return [
        Figure("P9", what, of_naive["again_s"] / of_store["again_s"], at_least=20),
        Figure("P9", f"peak / frame, {n:,} (read_sql: {of_naive['peak']:.1f})", of_store["peak"], at_most=4),
    ]


def _alone(path: Path) -> dict[str, float]:
    command = [sys.executable, "-m", "benchmarks.p09", "--read", str(path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    found: dict[str, float] = json.loads(done.stdout)
    return found


def _read(path: Path) -> None:
    """Print what it costs to read one of the two, and a sum over all that was read, in whatever order."""
    before = _memory("VmRSS")
    first_s, frame = _timed(path)
    peak = _memory("VmHWM") - before
    again_s = []
    for _ in range(_AGAIN[path.name]):
        del frame
        cpu_s, frame = _timed(path)
        again_s.append(cpu_s)
    typed = frame.astype(mops.schema.SAMPLE_DTYPES)
    rows = pd.util.hash_pandas_object(typed, index=False)
    size = int(typed.memory_usage(index=False, deep=False).sum())
    found = {"first_s": first_s, "again_s": statistics.median(again_s), "peak": peak / size, "sum": int(rows.sum())}
    print(json.dumps(found))


def _timed(path: Path) -> tuple[float, pd.DataFrame]:
    begun = time.process_time()
    if path.name == "naive.db":
        frame = read_naive(path)
    else:
        with mops.SampleStore(path) as store:
            frame = store.read_samples()
    return time.process_time() - begun, frame


def _memory(name: str) -> int:
    """Bytes of this process; `ru_maxrss` would begin at the peak of the one that started it."""
    lines = dict(line.split(":") for line in Path("/proc/self/status").read_text().splitlines())
    return int(lines[name].split()[0]) * 1024


if __name__ == "__main__":
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--read")
    asked, _ = parser.parse_known_args()
    if asked.read:
        _read(Path(asked.read))
    else:
        main(__doc__, measure)
