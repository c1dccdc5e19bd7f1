"""P5: whether polls drift over a hundred intervals, and how evenly they are spread over each.

By the log of the service, a process of its own: 300 jobs at 0.5 s, replies after 50 to 200 ms. Beside it the plain
way: at each tick all jobs go to a pool of 128 threads.
"""

from __future__ import annotations

import numpy as np

from benchmarks.driver import Figure, main
from benchmarks.polling import Run, plain, sampled


def measure(*, small: bool) -> list[Figure]:
    jobs, polls, interval_s = (20, 4, 0.3) if small else (300, 100, 0.5)
    run = sampled(jobs, (polls + 1) * interval_s, interval_s=interval_s)
    reference = plain(jobs, min(polls, 20) * interval_s, interval_s=interval_s)
    what = f"drift of the worst job over {polls} polls"
    return [
        Figure("P5", what, 100 * drift(run) / interval_s, at_most=1, unit="% of the interval"),
        Figure("P5", f"most requests in 100 ms / mean (plain: {crowd(reference):.1f})", crowd(run), at_most=2),
    ]


def drift(run: Run) -> float:
    """How far the last tenth of a job's polls is from its first one, in the worst job [s]."""
    return max(
        abs(float(np.median(late[-part:]) - np.median(late[:part])))
        for late in (run.late_s[run.job == number] for number in range(run.jobs))
        for part in (max(1, len(late) // 10),)
    )


def crowd(run: Run) -> float:
    """The most requests in any 100 ms, by the mean."""
    at = np.sort(run.at_s)
    most = (np.searchsorted(at, at + 0.1) - np.arange(len(at))).max()
    return float(most / (0.1 * len(at) / (at[-1] - at[0])))


if __name__ == "__main__":
    main(__doc__, measure)
