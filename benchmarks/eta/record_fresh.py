"""Record a second lot of real work: `python benchmarks/eta/record_fresh.py`, about a quarter of an hour on two cores.

Kinds of work that `record.py` lacks, and its own kinds again at other sizes and poll intervals, three at a time, so
that they are each other's noisy neighbours. They were recorded when the forecast had been settled, and it was scored on
all of them once, as it was; then half of the kinds (`FITTED`) joined the fitting part, the others (`HELD`) stay out of
every fit. The result is `traces_fresh.csv.gz`, of the same form as `traces.csv.gz`.
"""

from __future__ import annotations

import bz2
import csv
import gzip
import hashlib
import http.server
import io
import math
import os
import random
import re
import sqlite3
import subprocess
import sys
import tarfile
import tempfile
import threading
import time
import urllib.error
import urllib.request
import xml.etree.ElementTree as ET
import zipfile
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, ThreadPoolExecutor, wait
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

import record
from record import PACKAGES, Counts, Work, each, sources

TRACES = Path(__file__).with_name("traces_fresh.csv.gz")
PER_KIND, AGAIN, AT_ONCE = 4, 3, 3
LONGEST_S = 75.0


def package_files(rng: random.Random, count: int) -> list[Path]:
    files = [path for path in PACKAGES.rglob("*") if path.is_file() and path.stat().st_size < 3_000_000]
    return rng.sample(files, min(count, len(files)))


def several(
    total: int, workers: int, task: Callable[[int], object], pool: type = ThreadPoolExecutor
) -> Iterator[Counts]:
    """So many tasks by several workers; each that is over counts."""
    with pool(workers) as crew:
        pending = {crew.submit(task, i) for i in range(total)}
        while pending:
            pending = wait(pending, return_when=FIRST_COMPLETED)[1]
            yield total - len(pending), total, 0


@contextmanager
def server(answer: Callable[[http.server.BaseHTTPRequestHandler], None]) -> Iterator[str]:
    """A web server on this machine; its address."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            with suppress(ConnectionError):
                answer(self)

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as served:
        thread = threading.Thread(target=served.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{served.server_port}/"
        finally:
            served.shutdown()
            thread.join()


def get(address: str) -> bytes:
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(address, timeout=10) as reply:
        return reply.read()


# Kinds that may be fitted to


def unpack(rng: random.Random) -> Iterator[Counts]:
    """Archives unpacked one after the other, as an installer does; all files are known at once, or file by file."""
    at_once = rng.random() < 0.5
    with tempfile.TemporaryDirectory() as folder:
        archives = []
        for i in range(rng.randint(4, 15)):
            archives.append(Path(folder) / f"{i}.zip")
            with zipfile.ZipFile(archives[-1], "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
                for j, path in enumerate(package_files(rng, int(rng.lognormvariate(5, 1)) + 5)):
                    archive.write(path, f"{j}-{path.name}")
        sizes = [len(zipfile.ZipFile(path).namelist()) for path in archives]
        done = 0
        for i, path in enumerate(archives):
            with zipfile.ZipFile(path) as archive:
                for name in archive.namelist():
                    written = Path(archive.extract(name, folder))
                    for _ in range(6):
                        hashlib.sha256(written.read_bytes()).digest()
                    if name.endswith(".py"):
                        byte_code(written)
                    done += 1
                    yield done, sum(sizes) if at_once else sum(sizes[: i + 1]), 0


def byte_code(path: Path) -> None:
    with suppress(SyntaxError, ValueError):
        compile(path.read_bytes(), str(path), "exec")


def thumbnails(rng: random.Random) -> Iterator[Counts]:
    from PIL import Image

    total, largest = rng.randint(300, 2000), rng.choice([600, 1200, 2400])
    for i in range(total):
        width = rng.randint(50, largest)
        image = Image.frombytes("L", (width, 300), rng.randbytes(300 * width)).resize(
            (1500, 700), Image.Resampling.LANCZOS
        )
        image.thumbnail((128, 128))
        image.save(io.BytesIO(), "png")
        yield i + 1, total, 0


def sql_groups(rng: random.Random) -> Iterator[Counts]:
    """One report per customer out of a common table; customers differ by orders of magnitude."""
    db = sqlite3.connect(":memory:", check_same_thread=False)
    db.execute("create table t (customer integer, amount real, day integer)")
    total = rng.randint(150, 700)
    repeat, spread = rng.randint(5, 60), rng.uniform(0.5, 1.5)
    for customer in range(total):
        orders = min(int(rng.lognormvariate(4.5, spread)), 30_000) + 1
        db.executemany(
            "insert into t values (?, ?, ?)", ((customer, rng.random(), rng.randint(0, 365)) for _ in range(orders))
        )
    if rng.random() < 0.7:
        db.execute("create index i on t (customer)")
    query = "select day, sum(amount), count(*), group_concat(amount) from t where customer = ? group by day order by 2"
    for customer in range(total):
        for _ in range(repeat):
            db.execute(query, (customer,)).fetchall()
        yield customer + 1, total, 0


def limited(rng: random.Random) -> Iterator[Counts]:
    """Requests to a service that allows a burst, then so many per second (429, try again)."""
    allowed, rate, total = rng.randint(10, 200), rng.uniform(8, 60), rng.randint(150, 500)
    bucket, filled = [float(allowed)], [time.monotonic()]

    def answer(handler: http.server.BaseHTTPRequestHandler) -> None:
        now = time.monotonic()
        bucket[0] = min(bucket[0] + rate * (now - filled[0]), allowed)
        filled[0] = now
        handler.send_response(200 if bucket[0] >= 1 else 429)
        bucket[0] -= bucket[0] >= 1
        handler.end_headers()
        time.sleep(rng.uniform(0, 0.02))

    pause = rng.choice([0.05, 0.5, 2])
    with server(answer) as address:
        for i in range(total):
            while True:
                try:
                    get(address)
                    break
                except urllib.error.HTTPError:
                    time.sleep(pause)
            yield i + 1, total, 0


def crashes(rng: random.Random) -> Iterator[Counts]:
    """Work that ends in an error now and then, and begins again: from zero, or from the last checkpoint."""
    files = package_files(rng, rng.randint(800, 3000))
    often, step = rng.uniform(0.5, 2.5) / len(files), rng.choice([0, 50, 200])
    i, left = 0, 4
    while i < len(files):
        zlib.compress(files[i].read_bytes()[:300_000], 6)
        i += 1
        yield i, len(files), 0
        if left and rng.random() < often:
            time.sleep(rng.uniform(0, 1))
            i, left = (i // step * step if step else 0), left - 1
            yield i, len(files), 0


def c_build(rng: random.Random) -> Iterator[Counts]:
    """gcc by two or three at once, sources of very different length."""
    with tempfile.TemporaryDirectory() as folder:
        total = rng.randint(60, 220)
        for i in range(total):
            lines = min(int(rng.lognormvariate(3.5, 1.2)) + 2, 1500)
            body = "\n".join(
                f"double f{i}_{j}(double x) {{ for (int k = 0; k < {j % 9}; k++) x += x * k + {j}; return x; }}"
                for j in range(lines)
            )
            (Path(folder) / f"{i}.c").write_text(body)
        options = rng.choice(["-O0", "-O2"])

        def build(i: int) -> None:
            subprocess.run(["gcc", options, "-c", f"{folder}/{i}.c", "-o", f"{folder}/{i}.o"], check=True)

        yield from several(total, rng.randint(1, 3), build)


def sort_merge(rng: random.Random) -> Iterator[Counts]:
    """Chunks are sorted, then merged: two phases that count the same rows, in large steps."""
    chunks, rows = rng.randint(40, 150), rng.randint(20_000, 60_000)
    kept: list[list[int]] = []
    for i in range(chunks):
        kept.append(sorted(rng.randrange(10**9) for _ in range(rows)))
        yield (i + 1) * rows, 2 * chunks * rows, 0
    merged = 0
    step = rng.choice([rows // 10, rows, 5 * rows])
    for start in range(0, chunks * rows, step):
        part = [row for chunk in kept for row in chunk[start // chunks : (start + step) // chunks]]
        part.sort()
        bz2.compress(repr(part[:5000]).encode())
        merged = min(start + step, chunks * rows)
        yield chunks * rows + merged, 2 * chunks * rows, 0


def xml_rows(rng: random.Random) -> Iterator[Counts]:
    """A long file read row by row, the counter told every so many; rows grow or shrink on the way."""
    total, told, grow = rng.randint(8_000, 40_000), rng.choice([1, 100, 1000]), rng.uniform(-1.5, 1.5)
    for i in range(total):
        fields = max(int(20 * math.exp(grow * i / total) * rng.uniform(0.5, 1.5)), 1)
        row = ET.fromstring("<r>" + "".join(f"<f a='{j}'>{j * i}</f>" for j in range(fields)) + "</r>")
        ET.tostring(row)
        if (i + 1) % told == 0 or i + 1 == total:
            yield i + 1, total, 0


def passwords(rng: random.Random) -> Iterator[Counts]:
    """All items cost the same; only the machine varies."""
    rounds = rng.choice([10_000, 40_000, 120_000])
    total = rng.randint(150, 500) * 120_000 // rounds // 2
    return each(list(range(total)), lambda i: hashlib.pbkdf2_hmac("sha256", b"%d" % i, b"salt", rounds))


def percents(rng: random.Random) -> Iterator[Counts]:
    """Only a whole percentage is told."""
    files = sources(rng, rng.randint(400, 1500), order=rng.choice(["shuffled", "name", "size"]))
    for i, path in enumerate(files):
        bz2.compress(path.read_bytes())
        yield 100 * (i + 1) // len(files), 100, 0


def cached(rng: random.Random) -> Iterator[Counts]:
    """What was parsed before is not parsed again: faster and faster."""
    files = sources(rng, rng.randint(60, 250))
    total, known = rng.randint(400, 2000), set()
    bias = rng.choice([1, 2])
    for i in range(total):
        path = files[int(len(files) * rng.random() ** bias)]
        if path not in known:
            known.add(path)
            byte_code(path)
            time.sleep(rng.expovariate(30))
        time.sleep(0.003)
        yield i + 1, total, 0


# Kinds that are held out


def download(rng: random.Random) -> Iterator[Counts]:
    """Files of very different size, counted in kilobytes; the line is shared, and breaks: a file begins again."""
    sizes = [min(int(rng.paretovariate(1.1) * 40), 6000) for _ in range(rng.randint(15, 80))]
    speed, breaks = rng.uniform(200, 1500), rng.random() < 0.5

    def answer(handler: http.server.BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.end_headers()
        for _ in range(int(handler.path[1:]) // 10 + 1):
            handler.wfile.write(b"x" * 10_240)
            time.sleep(10 / speed * rng.lognormvariate(0, 0.5) * (1 + 2 * (time.monotonic() % 20 < 5)))

    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with server(answer) as address:
        done = 0
        for size in sizes:
            for attempt in range(2):
                read = 0
                with direct.open(f"{address}{size}", timeout=10) as reply:
                    while reply.read(10_240):
                        read += 10
                        yield done + min(read, size), sum(sizes), 0
                        if breaks and attempt == 0 and rng.random() < 0.002:
                            break
                    else:
                        break
            done += size


def test_suite(rng: random.Random) -> Iterator[Counts]:
    """The tests of a few modules of the standard library, one by one."""
    modules = ["statistics", "json", "textwrap", "heapq", "fractions", "datetime", "decimal", "re", "string", "zlib"]
    modules += ["random", "tempfile", "csv", "configparser", "bisect", "shlex", "difflib", "calendar", "base64", "gzip"]
    chosen = [f"test.test_{name}" for name in rng.sample(modules, rng.randint(2, 8))]
    code = "import sys, unittest\nsuite = unittest.defaultTestLoader.loadTestsFromNames(sys.argv[1:])\n"
    code += "print('total', suite.countTestCases(), flush=True)\n"
    code += "unittest.TextTestRunner(sys.stdout, verbosity=2).run(suite)"
    command = [sys.executable, "-u", "-c", code, *chosen]
    done = failed = total = 0
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        for line in process.stdout or ():
            total = int(line.split()[1]) if line.startswith("total ") else total
            if re.search(r"\.\.\. (ok|skipped|FAIL|ERROR|expected failure)", line) or line.strip() == "ok":
                done += 1
                failed += "FAIL" in line or "ERROR" in line
                time.sleep(0.004)
            if total:
                yield min(done, total), total, failed


def grep(rng: random.Random) -> Iterator[Counts]:
    """A slow pattern over files, by name, by size, or with the large ones first."""
    order = rng.choice(["name", "size", "reverse"])
    files = sources(rng, rng.randint(200, 900), order="size" if order == "reverse" else order)
    pattern = re.compile(
        rng.choice([rb"(\w+)\s*=\s*\1", rb"def \w+\([^)]*\) ->", rb"[A-Z]\w+Error.*\n.*raise", rb"(?i)x.*y.*z"])
    )
    return each(
        files[::-1] if order == "reverse" else files,
        lambda path: [pattern.findall(path.read_bytes()) for _ in range(300)],
    )


def dedupe(rng: random.Random) -> Iterator[Counts]:
    """One thread lists a tree and tells the total, another hashes what was listed."""
    listed: list[Path] = []
    pace, limit = rng.uniform(0.0002, 0.004), rng.randint(2000, 8000)
    over = threading.Event()

    def walk() -> None:
        for path in PACKAGES.rglob("*"):
            if path.is_file() and rng.random() < 0.3:
                listed.append(path)
                time.sleep(pace)
            if len(listed) >= limit:
                break
        over.set()

    lister = threading.Thread(target=walk)
    lister.start()
    done = 0
    while done < len(listed) or not over.is_set():
        if done == len(listed):
            time.sleep(0.002)
            continue
        data = listed[done].read_bytes()[:2_000_000]
        for _ in range(8):
            hashlib.sha1(data).digest()
        done += 1
        yield done, len(listed), 0
    lister.join()


def find_divisors(sizes: list[int], i: int) -> int:
    return sum(sizes[i] % j == 0 for j in range(1, sizes[i]))


def crew(rng: random.Random) -> Iterator[Counts]:
    """Processes side by side on tasks of very different length, more of them than processors."""
    total, spread = rng.randint(60, 500), rng.uniform(0.8, 1.8)
    sizes = [min(int(rng.uniform(4e4, 2e5) * rng.lognormvariate(0, spread)), 10**7) for _ in range(total)]
    yield from several(total, rng.randint(2, 6), partial(find_divisors, sizes), ProcessPoolExecutor)


def pipeline(rng: random.Random) -> Iterator[Counts]:
    """Fetch, change, store: three phases, each with its own cost; announced at once, or phase by phase."""
    fetched, at_once = rng.randint(60, 300), rng.random() < 0.5
    changed, stored = rng.randint(20, fetched), rng.randint(10, 200)
    told = (fetched, fetched + changed, fetched + changed + stored)
    done = 0
    with server(
        lambda handler: (time.sleep(rng.expovariate(60)), handler.send_response(200), handler.end_headers())
    ) as address:
        for _ in range(fetched):
            get(address)
            done += 1
            yield done, told[2] if at_once else told[0], 0
    block = rng.randbytes(rng.randint(10_000, 100_000))
    for _ in range(changed):
        bz2.compress(block * 3)
        done += 1
        yield done, told[2] if at_once else told[1], 0
    with tempfile.TemporaryDirectory() as folder, sqlite3.connect(Path(folder) / "t.db", check_same_thread=False) as db:
        db.execute("create table t (a text)")
        for _ in range(stored):
            db.executemany(
                "insert into t values (?)", [(rng.randbytes(50).hex(),) for _ in range(rng.randint(10, 600))]
            )
            db.commit()
            done += 1
            yield done, told[2], 0


def commits(rng: random.Random) -> Iterator[Counts]:
    """What each commit of this repository changed, oldest or newest first."""
    command = ["git", "-C", str(Path(__file__).parent), "log", "--format=%H"]
    names = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    names = (names[: rng.randint(300, 1500)] * 6)[:: rng.choice([-1, 1])]
    kind = rng.choice(["--stat", "--numstat", "-p"])
    return each(
        names,
        lambda name: subprocess.run([*command[:3], "show", kind, str(name)], stdout=subprocess.DEVNULL, check=True),
    )


def matrices(rng: random.Random) -> Iterator[Counts]:
    """Each larger than the one before, or smaller."""
    import numpy as np

    total, largest, shrink = rng.randint(60, 300), rng.randint(250, 700), rng.random() < 0.3
    for i in range(total):
        size = 20 + int(largest * ((total - i) if shrink else i) / total)
        np.linalg.svd(np.random.default_rng(i).random((size, size // 2)))
        yield i + 1, total, 0


def backup(rng: random.Random) -> Iterator[Counts]:
    """A compressed archive of a tree, counted in bytes: a few files are most of it."""
    files = [path for path in PACKAGES.rglob("*") if path.is_file()]
    files = rng.sample(files, rng.randint(1500, 7000))
    sizes = [path.stat().st_size for path in files]
    done = 0
    with (
        tempfile.TemporaryFile() as target,
        tarfile.open(fileobj=target, mode="w:gz", compresslevel=rng.choice([1, 6])) as archive,
    ):
        for path, size in zip(files, sizes, strict=True):
            archive.add(path, path.name)
            done += size
            yield done, sum(sizes), 0


def ledger(rng: random.Random) -> Iterator[Counts]:
    """Batches written to disk and synced, some with an index to rebuild; the counter moves at the end of a batch."""
    batches, rows = rng.randint(8, 80), rng.choice([500, 5000, 20_000])
    with tempfile.TemporaryDirectory() as folder:
        for i in range(batches):
            with (Path(folder) / "ledger.csv").open("a") as file:
                for row in range(rows):
                    file.write(hashlib.sha1(b"%d" % row).hexdigest() + "\n")
                file.flush()
                os.fsync(file.fileno())
            time.sleep(rng.uniform(0.05, 0.4))
            if i % 10 == 9:
                sorted((Path(folder) / "ledger.csv").read_text().split())
            yield (i + 1) * rows, batches * rows, 0


def index_first(rng: random.Random) -> Iterator[Counts]:
    """An index is built before the first of the searches: long nothing, then steady."""
    total = rng.randint(200, 900)
    yield 0, total, 0
    words: dict[bytes, list[Path]] = {}
    for path in sources(rng, rng.randint(100, 500)):
        for word in set(re.findall(rb"\w+", path.read_bytes())):
            words.setdefault(word, []).append(path)
    names = rng.sample(sorted(words), total)
    for i, name in enumerate(names):
        for path in words[name][:20]:
            path.read_bytes().count(name)
        yield i + 1, total, 0
        time.sleep(0.005)


FITTED: dict[str, Work] = {
    "unpack": unpack,
    "thumbnails": thumbnails,
    "sql_groups": sql_groups,
    "limited": limited,
    "crashes": crashes,
    "c_build": c_build,
    "sort_merge": sort_merge,
    "xml_rows": xml_rows,
    "passwords": passwords,
    "percents": percents,
    "cached": cached,
}
HELD: dict[str, Work] = {
    "download": download,
    "test_suite": test_suite,
    "grep": grep,
    "dedupe": dedupe,
    "crew": crew,
    "pipeline": pipeline,
    "commits": commits,
    "matrices": matrices,
    "backup": backup,
    "ledger": ledger,
    "index_first": index_first,
}


def record_one(name: str, number: int) -> list[tuple]:
    """The rows of one job; none if it was too short or too long."""
    kind = name.removesuffix(" again")
    rng = random.Random(f"fresh {name} {number}")
    work = ({**record.KINDS, **FITTED, **HELD})[kind](rng)
    interval = math.exp(rng.uniform(math.log(0.015), math.log(0.5)))
    rows = record.record(work, rng, interval=interval, polls=(10, 900), longest_s=LONGEST_S)
    print(name, number, f"{len(rows)} polls, {rows[-1][0] / 1000} s" if rows else "left out", flush=True)
    return [(name, f"{name}-{number}", *row) for row in rows or []]


def record_kind(name: str, count: int) -> list[tuple]:
    table: list[tuple] = []
    for number in range(2 * count):
        table += record_one(name, number)
        if len({row[1] for row in table}) == count:
            break
    return table


def main() -> None:
    os.nice(5)
    jobs = [(name, PER_KIND) for name in (*FITTED, *HELD)] + [(f"{name} again", AGAIN) for name in record.KINDS]
    random.Random(1).shuffle(jobs)
    # A process each, since a job that is too long is left to itself; and threads that wait for them.
    with ThreadPoolExecutor(AT_ONCE) as lanes:
        parts = list(lanes.map(lambda job: in_process(*job), jobs))
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n").writerows([("kind", "job", "ms", "processed", "total", "failed")])
    text.write("".join(sorted(parts)))
    TRACES.write_bytes(gzip.compress(text.getvalue().encode(), mtime=0))


def in_process(name: str, count: int) -> str:
    """The rows of one kind as text, from a process of its own."""
    command = [sys.executable, "-W", "ignore", __file__, name, str(count)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    print(name, "ends with", done.returncode, flush=True)
    return done.stdout


if __name__ == "__main__":
    if len(sys.argv) == 3:
        sys.stdout, told = sys.stderr, sys.stdout
        rows = record_kind(sys.argv[1], int(sys.argv[2]))
        csv.writer(told, lineterminator="\n").writerows(rows)
    else:
        main()
