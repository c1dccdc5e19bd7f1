"""Record real work as job traces: `python benchmarks/eta/record.py`, about ten minutes on one core.

Each kind of work is a generator that does real work and yields (processed, total, failed) after each item. A second
thread polls these counters, with jitter and missed polls, as a sampler would poll the service. Times are those of the
machine; a trace lasts seconds instead of minutes, which no forecast may notice. The result is `traces.csv.gz`: one row
per poll, `kind`, `job`, `ms` since the first poll, `processed`, `total`, `failed`; the last row of a job is its end.
"""

from __future__ import annotations

import ast
import bz2
import csv
import gzip
import hashlib
import http.server
import io
import json
import lzma
import os
import random
import re
import sqlite3
import subprocess
import sys
import sysconfig
import tempfile
import threading
import time
import tokenize
import urllib.request
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

Counts = tuple[int, int, int]
Work = Callable[[random.Random], Iterator[Counts]]

HERE = Path(__file__).parent
LIBRARY = Path(sysconfig.get_path("stdlib"))
PACKAGES = Path(sysconfig.get_path("purelib"))
LONGEST_S = 40.0


def sources(rng: random.Random, count: int, *, order: str = "shuffled") -> list[Path]:
    files = [path for path in LIBRARY.rglob("*.py") if "site-packages" not in path.parts]
    files = rng.sample(files, min(count, len(files)))
    if order == "size":
        files.sort(key=lambda path: path.stat().st_size)
    if order == "name":
        files.sort()
    return files


def each(items: list, work: Callable[[object], object], *, failing: type[Exception] = ValueError) -> Iterator[Counts]:
    failed = 0
    for i, item in enumerate(items):
        try:
            work(item)
        except failing:
            failed += 1
        yield i + 1, len(items), failed


# Kinds of work


def compress(rng: random.Random) -> Iterator[Counts]:
    squeeze = rng.choice(
        [lambda data: zlib.compress(data, 9), bz2.compress, lambda data: lzma.compress(data, preset=0)]
    )
    repeat = rng.randint(2, 6)
    files = sources(rng, rng.randint(200, 900), order=rng.choice(["shuffled", "name", "size"]))
    return each(files, lambda path: squeeze(path.read_bytes() * repeat))


def hashing(rng: random.Random) -> Iterator[Counts]:
    files = [path for path in PACKAGES.rglob("*") if path.is_file()]
    files = rng.sample(files, min(rng.randint(4000, 12000), len(files)))
    if rng.random() < 0.5:
        files.sort()
    rounds = rng.randint(5, 25)

    def digest(path: Path) -> None:
        data = path.read_bytes()
        for _ in range(rounds):
            hashlib.sha256(data).digest()

    return each(files, digest)


def parsing(rng: random.Random) -> Iterator[Counts]:
    files = sources(rng, rng.randint(300, 1200), order=rng.choice(["shuffled", "name"]))
    kind = rng.choice(["ast", "tokens", "words"])

    def parse(path: Path) -> None:
        data = path.read_bytes()
        if kind == "ast":
            ast.parse(data)
        elif kind == "tokens":
            try:
                list(tokenize.tokenize(io.BytesIO(data).readline))
            except (tokenize.TokenError, SyntaxError):
                raise ValueError from None
        else:
            json.loads(json.dumps(re.findall(rb"\w+", data), default=lambda word: word.decode("latin-1")))

    return each(files, parse, failing=(SyntaxError, ValueError))


def compiling(rng: random.Random) -> Iterator[Counts]:
    files = sources(rng, rng.randint(200, 900), order=rng.choice(["shuffled", "name"]))
    return each(files, lambda path: compile(path.read_bytes(), str(path), "exec"), failing=(SyntaxError, ValueError))


def sql_inserts(rng: random.Random) -> Iterator[Counts]:
    """Rows into a table on disk, with an index, committed by batches."""
    batch, batches = rng.choice([20, 100, 500]), rng.randint(60, 300)
    with tempfile.TemporaryDirectory() as folder:
        with sqlite3.connect(Path(folder) / "t.db") as db:
            db.execute("create table t (a integer, b text)")
            db.execute("create index i on t (b)")
            for i in range(batches):
                rows = [(rng.randint(0, 10**6), hashlib.sha1(rng.randbytes(30)).hexdigest() * 8) for _ in range(batch)]
                db.executemany("insert into t values (?, ?)", rows)
                db.commit()
                yield (i + 1) * batch, batches * batch, 0
        db.close()


def sql_scans(rng: random.Random) -> Iterator[Counts]:
    """A full scan before each insert: each item costs more than the one before."""
    db = sqlite3.connect(":memory:")
    db.execute("create table t (a text)")
    total, weight = rng.randint(1000, 2200), rng.randint(10, 40)
    for i in range(total):
        db.execute("select count(*) from t where a like ?", (f"%{rng.randint(0, 999)}%x",)).fetchone()
        db.executemany("insert into t values (?)", [(rng.randbytes(20).hex(),) for _ in range(weight)])
        yield i + 1, total, 0
    db.close()


def joins(rng: random.Random) -> Iterator[Counts]:
    """Text that is joined anew for each item: quadratic, or its reverse."""
    total, shrinking = rng.randint(800, 2000), rng.random() < 0.4
    piece = rng.randbytes(rng.randint(2000, 6000))
    for i in range(total):
        zlib.crc32(piece * ((total - i) if shrinking else i))
        yield i + 1, total, 0


class Page(http.server.BaseHTTPRequestHandler):
    delay: Callable[[], float] = staticmethod(lambda: 0.0)

    def do_GET(self) -> None:
        time.sleep(self.delay())
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"x" * 2000)

    def log_message(self, *_: object) -> None:
        pass


def loopback(rng: random.Random) -> Iterator[Counts]:
    """Requests to a server on this machine whose answers take their time, slower for a while, or limited."""
    mean, spread = rng.uniform(0.004, 0.03), rng.uniform(0.2, 1.6)
    total = rng.randint(200, 500)
    slow = range(rng.randint(0, total), rng.randint(0, total)) if rng.random() < 0.5 else range(0)
    served = iter(range(10**9))
    page = type("SlowPage", (Page,), {})
    page.delay = staticmethod(
        lambda: min(mean * rng.lognormvariate(-spread * spread / 2, spread) * (3 if next(served) in slow else 1), 1)
    )
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), page) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        address = f"http://127.0.0.1:{server.server_port}/"
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        for i in range(total):
            opener.open(address, timeout=5).read()
            yield i + 1, total, 0
        server.shutdown()
        thread.join()


def test_run(rng: random.Random) -> Iterator[Counts]:
    """Programs started one after the other, like the cases of a test suite; some slow, some failing."""
    modules = [
        "json",
        "decimal",
        "email",
        "http.client",
        "sqlite3",
        "xml.dom",
        "asyncio",
        "unittest",
        "this_is_missing",
    ]
    failed, total = 0, rng.randint(60, 200)
    for i in range(total):
        code = f"import {rng.choice(modules)}; sum(range({int(rng.lognormvariate(11, 2)) % 4_000_000}))"
        done = subprocess.run([sys.executable, "-IS", "-c", code], stderr=subprocess.DEVNULL, check=False)
        failed += done.returncode != 0
        yield i + 1, total, failed


def plots(rng: random.Random) -> Iterator[Counts]:
    import matplotlib as mpl

    mpl.use("agg")
    from matplotlib.figure import Figure

    total = rng.randint(50, 150)
    for i in range(total):
        figure = Figure(figsize=(3, 2))
        axes = figure.subplots(rng.randint(1, 2), squeeze=False).ravel()
        for ax in axes:
            ax.plot([rng.random() for _ in range(int(rng.lognormvariate(6, 1)))])
            ax.set_title(f"plot {i}")
        figure.savefig(io.BytesIO(), format=rng.choice(["png", "svg"]), dpi=60)
        yield i + 1, total, 0


def crawl(rng: random.Random) -> Iterator[Counts]:
    """A file tree that is discovered while it is read: the total grows."""
    roots = [path for path in (*PACKAGES.iterdir(), *LIBRARY.iterdir()) if path.is_dir()]
    queue, done, total = rng.sample(roots, min(rng.randint(8, 30), len(roots))), 0, 0
    depth_first, limit = rng.random() < 0.5, rng.randint(5000, 20000)
    total = len(queue)
    while queue and done < limit:
        path = queue.pop() if depth_first else queue.pop(0)
        if path.is_dir():
            found = list(path.iterdir()) if total < limit else []
            queue += found
            total += len(found)
        elif path.is_file():
            hashlib.blake2b(path.read_bytes() * 8).digest()
        done += 1
        yield done, total, 0
        if done % 8 == 0:
            time.sleep(0.004)


def phases(rng: random.Random) -> Iterator[Counts]:
    """Import, then enrichment: the second total is announced when the first part is over."""
    first = sources(rng, rng.randint(200, 700))
    second = rng.sample(first, rng.randint(30, len(first)))
    announced = rng.random() < 0.5
    total = len(first) + (len(second) if announced else 0)
    for i, path in enumerate(first):
        zlib.compress(path.read_bytes(), rng.choice([1, 6]))
        time.sleep(0.003)
        yield i + 1, total, 0
    total = len(first) + len(second)
    for i, path in enumerate(second):
        bz2.compress(path.read_bytes() * 4)
        yield len(first) + i + 1, total, 0


def noisy(rng: random.Random) -> Iterator[Counts]:
    """Hashing while neighbours come and go on the same processors."""
    burner = "import time\nend = time.time() + {}\nwhile time.time() < end: pass"
    neighbours: list[subprocess.Popen[bytes]] = []
    block = rng.randbytes(rng.randint(20_000, 200_000))
    total = rng.randint(1500, 4000)
    try:
        for i in range(total):
            if rng.random() < 4 / total:
                command = [sys.executable, "-IS", "-c", burner.format(rng.uniform(0.5, 3))]
                neighbours += [subprocess.Popen(command) for _ in range(rng.randint(1, 3))]
            for _ in range(int(2_000_000 / len(block))):
                hashlib.md5(block).digest()
            yield i + 1, total, 0
    finally:
        for neighbour in neighbours:
            neighbour.wait()


def pool(rng: random.Random) -> Iterator[Counts]:
    """Four workers on tasks of very different length: stragglers at the end."""
    from concurrent.futures import ThreadPoolExecutor, as_completed

    total = rng.randint(60, 200)
    sizes = [min(rng.paretovariate(1.2) * 0.02, 3) for _ in range(total)]
    with ThreadPoolExecutor(4) as workers:
        for i, _ in enumerate(as_completed([workers.submit(time.sleep, size) for size in sizes])):
            yield i + 1, total, 0


KINDS: dict[str, Work] = {
    "compress": compress,
    "hashing": hashing,
    "parsing": parsing,
    "compiling": compiling,
    "sql_inserts": sql_inserts,
    "sql_scans": sql_scans,
    "joins": joins,
    "loopback": loopback,
    "test_run": test_run,
    "plots": plots,
    "crawl": crawl,
    "phases": phases,
    "noisy": noisy,
    "pool": pool,
}


# Polling


def record(
    work: Iterator[Counts],
    rng: random.Random,
    *,
    interval: float | None = None,
    polls: tuple[int, int] = (20, 600),
    longest_s: float = LONGEST_S,
) -> list[tuple[int, int, int, int]] | None:
    """Poll the counters while the work goes on; None if it takes too long to be worth its room."""
    latest: list[Counts] = [(0, 0, 0)]
    over = threading.Event()

    def run() -> None:
        try:
            for counts in work:
                latest[0] = counts
                if time.monotonic() - start > longest_s:
                    break
        finally:
            over.set()

    start = time.monotonic()
    worker = threading.Thread(target=run)
    rows: list[tuple[int, int, int, int]] = []
    worker.start()
    interval = interval or rng.choice([0.02, 0.04, 0.08, 0.15])
    while not over.wait(interval * rng.uniform(0.8, 1.2) * (rng.randint(2, 8) if rng.random() < 0.03 else 1)):
        if latest[0][1]:
            rows.append((round(1000 * (time.monotonic() - start)), *latest[0]))
    rows.append((round(1000 * (time.monotonic() - start)), *latest[0]))
    worker.join()
    return rows if polls[0] <= len(rows) <= polls[1] and rows[-1][0] < 1000 * longest_s else None


def main() -> None:
    per_kind = int(sys.argv[1]) if len(sys.argv) > 1 else 6
    os.nice(5)
    table = [("kind", "job", "ms", "processed", "total", "failed")]
    for kind, work in KINDS.items():
        kept, seed = 0, 0
        while kept < per_kind and seed < 3 * per_kind:
            rng = random.Random(f"{kind} {seed}")
            rows = record(work(rng), rng)
            seed += 1
            if rows:
                table += [(kind, f"{kind}-{kept}", *row) for row in rows]
                kept += 1
                print(kind, seed, len(rows), "polls", rows[-1][0] / 1000, "s", flush=True)
            else:
                print(kind, seed, "left out", flush=True)
    # No time stamp in the archive: the same recording gives the same file.
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n").writerows(table)
    (HERE / "traces.csv.gz").write_bytes(gzip.compress(text.getvalue().encode(), mtime=0))


if __name__ == "__main__":
    main()
