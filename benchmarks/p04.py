"""P4: how late the polls of many jobs are, at 3 s, replies after 50 to 200 ms, with the store on the disk.

By the log of the service, a process of its own, against the grid of each job; less what an idle sleeper beside it is
late. Beside it the plain way: at each tick all jobs go to a pool of 128 threads.
"""

from __future__ import annotations

import statistics

from benchmarks.driver import Figure, main
from benchmarks.polling import plain, sampled


def measure(*, small: bool) -> list[Figure]:
    if small:
        runs, few, reference = [sampled(20, 1.2, interval_s=0.4)], [], plain(20, 0.8, interval_s=0.4)
    else:
        runs = [sampled(2000, 15.0) for _ in range(3)]
        few = [sampled(jobs, 9.0) for jobs in (100, 500)]
        reference = plain(2000, 9.0)
    p50, p99, core = (
        [f(run) for run in runs] for f in (lambda r: r.late_ms(0.5), lambda r: r.late_ms(0.99), lambda r: r.core)
    )
    spread = f"{min(p99):.2g} to {max(p99):.2g}; plain: {reference.late_ms(0.99):,.0f}"
    jobs = runs[0].jobs
    return [
        Figure(
            "P4",
            f"{jobs:,} jobs, late, median (plain: {reference.late_ms(0.5):,.0f})",
            statistics.median(p50),
            1,
            unit="ms",
        ),
        Figure("P4", f"{jobs:,} jobs, late, p99 ({spread})", statistics.median(p99), 50, unit="ms"),
        Figure("P4", f"{jobs:,} jobs, polls missed in {len(runs)} runs", sum(run.missed for run in runs), 0, unit=""),
        Figure(
            "P4", f"{jobs:,} jobs, CPU, of a core (plain: {reference.core:.0%})", statistics.median(core), 0.6, unit=""
        ),
        *(Figure("P4", f"{run.jobs} jobs, late, p99", run.late_ms(0.99), 20, unit="ms") for run in few),
    ]


if __name__ == "__main__":
    main(__doc__, measure)
