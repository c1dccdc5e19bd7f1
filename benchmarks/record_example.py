"""Record the example that comes with the package: ten jobs of one afternoon, sampled from the simulator over HTTP.

    python benchmarks/record_example.py [FILE]

The afternoon (13:50 to 15:30 UTC on 18 November 2026) is recorded in 50 seconds: simulators and polls run 120 times as
fast as real time, and the times and latencies in the file are multiplied back. Statuses and counts follow from the
seed; the instants and latencies are those of the machine, so two recordings differ in them.
"""

import heapq
import random
import sys
import time
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path

from mops_analysis.client import JobStatusClient
from mops_analysis.schema import to_frame
from mops_analysis.simulator import Simulator

SPEED = 120.0
BEGIN = datetime(2026, 11, 18, 13, 50, tzinfo=UTC)
LENGTH_S = 100 * 60.0
INTERVAL_S = 10.0

# Minute of creation, job, label.
JOBS = (
    (0, "clean-import-1", "catalog import · Northwind"),
    (4, "cancelled-1", "price update · Hooli"),
    (8, "clean-import-2", "catalog import · Acme"),
    (14, "slow-warm-up-1", "price update · Contoso"),
    (24, "clean-import-3", "catalog import · Globex"),
    (30, "import-then-enrichment-1", "import and enrichment · Acme"),
    (39, "failure-burst-1", "image refresh · Hooli"),
    (46, "counter-reset-1", "inventory sync · Globex"),
    (58, "stuck-in-review-1", "enrichment · Fabrikam"),
    (76, "stall-and-recovery-1", "catalog import · Initech"),
)

# Minutes without samples: the laptop slept, and one job's polls got no reply.
SLEEP_MINUTES = (33.0, 37.5)
OUTAGES_MINUTES = {"import-then-enrichment-1": (52.0, 55.5)}


def record() -> list[dict[str, object]]:
    """Watch each job from its creation to its end, its review or the end of the afternoon."""
    jitter = random.Random(18)
    records: list[dict[str, object]] = []
    due = [(60.0 * minute, job_id, label) for minute, job_id, label in JOBS]
    clients: dict[str, JobStatusClient] = {}
    began = time.monotonic()
    with ExitStack() as open_until_the_end:
        while due:
            due_s, job_id, label = heapq.heappop(due)
            time.sleep(max(0.0, due_s / SPEED - (time.monotonic() - began)))
            if job_id not in clients:
                simulator = open_until_the_end.enter_context(Simulator(speed=SPEED))
                clients[job_id] = open_until_the_end.enter_context(JobStatusClient(base_url=simulator.url))
            asked = time.monotonic()
            status = clients[job_id].fetch_status(job_id)
            latency_s = time.monotonic() - asked
            sampled_at = BEGIN + timedelta(seconds=SPEED * (asked - began + latency_s / 2))
            records.append(
                {
                    "job_id": job_id,
                    "sampled_at": sampled_at,
                    "status": status.status,
                    "progress_percentage": status.progress_percentage,
                    "processed_items": status.processed_items,
                    "total_items": status.total_items,
                    "failed_items": status.failed_items,
                    "latency_s": round(SPEED * latency_s, 3),
                    "label": label,
                }
            )
            next_s = after_gaps(job_id, due_s + INTERVAL_S * jitter.uniform(0.95, 1.05))
            if not status.is_terminal and status.status != "awaiting_review" and next_s < LENGTH_S:
                heapq.heappush(due, (next_s, job_id, label))
    return records


def after_gaps(job_id: str, due_s: float) -> float:
    """Put a poll that would fall into a gap to the gap's end."""
    for begin, end in (SLEEP_MINUTES, OUTAGES_MINUTES.get(job_id, (0.0, 0.0))):
        if 60 * begin <= due_s < 60 * end:
            return 60 * end + due_s % INTERVAL_S
    return due_s


if __name__ == "__main__":
    default = Path(__file__).parents[1] / "mops_analysis" / "data" / "example.csv.gz"
    file = Path(sys.argv[1]) if len(sys.argv) > 1 else default
    samples = to_frame(record())
    samples["sampled_at"] = samples["sampled_at"].dt.round("ms")
    samples.to_csv(file, index=False, date_format="%Y-%m-%dT%H:%M:%S.%f%z", compression={"method": "gzip", "mtime": 0})
    print(f"{file}: {len(samples)} samples of {samples['job_id'].nunique()} jobs, {file.stat().st_size / 1000:.0f} kB")
