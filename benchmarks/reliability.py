"""What the poller keeps of its promises, in figures; see docs/reliability.md.

Run: python benchmarks/reliability.py [--small]

Exits with 1 if a figure misses its goal. With --small in some 15 seconds, without in some two minutes.
"""

import argparse
import contextlib
import json
import os
import random
import signal
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))

from faulty_server import FaultyServer, flood, hang, head, refused, reply, reset, sample, trickle  # noqa: E402

import mops_analysis as mops  # noqa: E402

Figure = tuple[str, str, str, bool]


@contextlib.contextmanager
def watch(url: str, folder: Path, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """`mops watch job-1` in a process of its own."""
    environment = os.environ | {"MERCHANTOPS_API_URL": url}
    command = [sys.executable, "-m", "mops_analysis", "watch", "job-1", *arguments]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, cwd=folder, env=environment, stdout=pipe, stderr=pipe, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def wait_for_requests(server: FaultyServer, count: int) -> None:
    until = time.monotonic() + 30
    while len(server.requests) < count:
        if time.monotonic() > until:
            raise TimeoutError("the watch sends nothing")
        time.sleep(0.005)


def killed_again_and_again(folder: Path, kills: int) -> tuple[int, int, str]:
    """Acknowledged polls (the next request was sent), those of them that are lost, and what the check says."""
    acknowledged = lost = stored = 0
    for _ in range(kills):
        with FaultyServer() as server, watch(server.url, folder, "--interval", "0.2") as process:
            wait_for_requests(server, 4)
            time.sleep(random.uniform(0.0, 0.4))
            process.kill()
            process.wait()
            sent = len(server.requests) - 1
        with contextlib.closing(sqlite3.connect(folder / "samples.db")) as connection:
            now = connection.execute("SELECT count(*) FROM polls").fetchone()[0]
            check = connection.execute("PRAGMA integrity_check").fetchone()[0]
        acknowledged += sent
        lost += max(0, sent - (now - stored))
        stored = now
        if check != "ok":
            return acknowledged, lost, check
    return acknowledged, lost, "ok"


def kills(folder: Path, *, small: bool) -> Iterator[Figure]:
    rounds = 1 if small else 5
    folders = [folder / f"kills-{n}" for n in range(4)]
    for each in folders:
        each.mkdir()
    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(killed_again_and_again, folders, [rounds] * 4))
    acknowledged, lost = sum(r[0] for r in results), sum(r[1] for r in results)
    yield f"lost in {4 * rounds} kills, of {acknowledged} acknowledged polls", str(lost), "0", lost == 0
    checks = {r[2] for r in results}
    yield "integrity_check after each", ", ".join(checks), "ok", checks == {"ok"}


LONG_RUN = """
import json, psutil, sys
import mops_analysis as mops
url, path, polls = sys.argv[1], sys.argv[2], int(sys.argv[3])
me = psutil.Process()
client, store = mops.JobStatusClient(base_url=url), mops.SampleStore(path)
sampler = mops.Sampler(client, store, interval_s=0.02)
sampler.start([f"job-{n}" for n in range(4)])
seen = []
for count in (polls // 10, polls):
    while sum(row.polls for row in sampler.outcomes()) < count:
        sampler.wait(0.05)
    seen.append((me.memory_info().rss, me.num_fds(), sum(row.polls for row in sampler.outcomes())))
sampler.stop()
print(json.dumps(seen))
"""


def long_run(folder: Path, *, small: bool) -> Iterator[Figure]:
    polls = 300 if small else 3000
    with FaultyServer() as server:
        command = [sys.executable, "-c", LONG_RUN, server.url, str(folder / "long.db"), str(polls)]
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=300)
        connections = server.connections
    (rss, fds, _), (rss_after, fds_after, count) = json.loads(done.stdout)
    grown = (rss_after - rss) / 2**20
    yield f"memory grown over {count} polls [MiB]", f"{grown:.1f}", "20", grown <= 20
    yield "file descriptors more", str(fds_after - fds), "2", fds_after - fds <= 2
    yield "connections", str(connections), "5", connections <= 5


def dead_service(folder: Path, *, small: bool) -> Iterator[Figure]:
    seconds, goal = (4.0, 16) if small else (10.0, 22)
    behaviours = {"429": reply(429), "503": reply(503), "RST": reset, "silent": hang()}

    def requests(name: str, url: str, jobs: int) -> int:
        path = folder / f"dead-{name}-{jobs}.db"
        with mops.SampleStore(path) as store, mops.JobStatusClient(base_url=url) as client:
            job_ids = [f"{name}-{jobs}-{n}" for n in range(jobs)]
            mops.Sampler(client, store, 0.2).watch(job_ids, timeout_s=seconds, progress=False)
            return len(store.read_polls())

    for jobs in (1, 6, 40, 200):
        with FaultyServer(lambda job_id, _: behaviours[job_id.split("-")[0]]) as server, refused() as nobody:
            with ThreadPoolExecutor(5) as pool:
                watches = [pool.submit(requests, name, server.url, jobs) for name in behaviours]
                counts = {"refused": pool.submit(requests, "refused", nobody, jobs).result()}
                wait(watches)
            for name in behaviours:
                counts[name] = sum(request.job_id.startswith(name) for request in server.requests)
        figure = f"{min(counts.values())} to {max(counts.values())}"
        what = f"dead ({', '.join(counts)}), 0.2 s, {jobs} job(s): requests in {seconds:g} s"
        yield what, figure, str(goal), max(counts.values()) <= goal


TRICKLES = {
    "trickled body": trickle(b" " * 5000, first=head(length=5000)),
    "trickled headers": trickle(head(200, "X: " + "y" * 5000)),
    "100 Continue for ever": flood(head(100), every_s=0.01),
}


def trickles(folder: Path, *, small: bool) -> Iterator[Figure]:
    del folder
    deadline_s = 0.5 if small else 2.0
    with FaultyServer(TRICKLES) as server, mops.JobStatusClient(base_url=server.url, deadline_s=deadline_s) as client:
        for name in TRICKLES:
            begun = time.monotonic()
            with contextlib.suppress(mops.PollError):
                client.fetch_status(name)
            took = time.monotonic() - begun
            goal = deadline_s + 1
            yield f"{name}, deadline {deadline_s:g} s: the poll took [s]", f"{took:.2f}", f"{goal:g}", took <= goal


def stops(folder: Path, *, small: bool) -> Iterator[Figure]:
    states = {
        "between polls": (sample(), "60"),
        "in a hang": (trickle(b" " * 5000, first=head(length=5000)), "0.2"),
        "in a wait of 30 s": (reply(429, b"", "Retry-After: 30"), "0.2"),
    }
    for number in (signal.SIGINT, signal.SIGTERM):
        took = []
        for name, (behaviour, interval) in states.items():
            store = folder / f"{name}-{number}.db"
            for _ in range(1 if small else 5):
                with (
                    FaultyServer({"job-1": behaviour}) as server,
                    watch(server.url, folder, "--interval", interval, "--store", str(store)) as process,
                ):
                    wait_for_requests(server, 1)
                    time.sleep(0.3)
                    begun = time.monotonic()
                    process.send_signal(number)
                    out, err = process.communicate(timeout=30)
                    took.append(time.monotonic() - begun)
                    if process.returncode != 130 or "Traceback" in err or not json.loads(out):
                        took.append(float("inf"))
        figure = f"{statistics.median(took):.2f} to {max(took):.2f}"
        yield f"{number.name}: the watch was gone after [s]", figure, "3.5", max(took) <= 3.5


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--small", action="store_true", help="fewer kills, polls and seconds")
    small = parser.parse_args().small
    has_missed = False
    with tempfile.TemporaryDirectory() as folder:
        for figures in (kills, long_run, dead_service, trickles, stops):
            for name, figure, goal, is_kept in figures(Path(folder), small=small):
                has_missed |= not is_kept
                print(f"{name:86} {figure:>12}   goal {goal}{'' if is_kept else '   MISSED'}", flush=True)
    return int(has_missed)


if __name__ == "__main__":
    sys.exit(main())
