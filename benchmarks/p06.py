"""P6: whether jobs that never answer delay the others: 5 % of 2,000 jobs hang, at 3 s, replies after 50 to 200 ms.

By the log of the service, a process of its own. Beside it the same without hung jobs, in the same run.
"""

from __future__ import annotations

import statistics

from benchmarks.driver import Figure, main
from benchmarks.polling import sampled


def measure(*, small: bool) -> list[Figure]:
    jobs, seconds, interval_s, rounds = (40, 0.7, 0.3, 1) if small else (2000, 24.0, 3.0, 3)
    pairs = [
        (
            sampled(jobs, seconds, interval_s=interval_s, has_hung=True),
            sampled(jobs, seconds, interval_s=interval_s),
        )
        for _ in range(rounds)
    ]
    p99 = statistics.median(hung.late_ms(0.99) for hung, _ in pairs)
    healthy = statistics.median(max(1.0, whole.late_ms(0.99)) for _, whole in pairs)
    return [
        Figure("P6", "the others, late, p99", p99, at_most=100, unit="ms"),
        Figure("P6", f"the same / without hung jobs ({healthy:.2g} ms)", p99 / healthy, at_most=3),
        Figure("P6", f"polls of the others missed in {rounds} runs", sum(hung.missed for hung, _ in pairs), 0, unit=""),
    ]


if __name__ == "__main__":
    main(__doc__, measure)
