"""A small status service in a process of its own, which notes when each request came; and an idle sleeper beside it.

It is no simulator: every job is `in_progress` with the same counters, so that the service costs little and the poller
is what is measured.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import random
import ssl
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

#: Of every so many jobs one never answers, where the service is told that some hang.
HUNG_EVERY = 20

FIELDS = {
    "status": "in_progress",
    "progress_percentage": 49.83,
    "processed_items": 12345,
    "total_items": 24773,
    "failed_items": 17,
}


def job_ids(jobs: int) -> list[str]:
    """Return so many job ids."""
    return [f"job-{number}" for number in range(jobs)]


@dataclass
class Log:
    """What the service saw.

    Attributes
    ----------
    connections
        How many were made; with TLS: handshakes.
    requests
        For each, when it came on the machine's monotonic clock [s], and the number of its job.
    sleeps_s
        How late an idle sleeper woke up, 200 times a second.
    polls
        How many replies each job got.
    """

    connections: int = 0
    requests: list[tuple[float, int]] = field(default_factory=list)
    sleeps_s: list[float] = field(default_factory=list)
    polls: Counter[int] = field(default_factory=Counter)


@dataclass
class Service:
    """Where the service is; `log` is filled when it has ended."""

    url: str
    log: Log


@contextlib.contextmanager
def service(
    *, latency_s: tuple[float, float] = (0.0, 0.0), has_hung: bool = False, pem: str = "", polls: int = 0
) -> Iterator[Service]:
    """Run the service.

    Parameters
    ----------
    latency_s
        Least and greatest time to a reply [s].
    has_hung
        Whether some jobs never answer.
    pem
        A file of key and certificate, to serve TLS.
    polls
        Each job ends with so many; 0: never.
    """
    command = [sys.executable, "-m", "benchmarks.service", "--latency", *map(str, latency_s), "--polls", str(polls)]
    command += [*(["--hung"] if has_hung else []), *(["--pem", pem] if pem else [])]
    pipe = subprocess.PIPE
    sleeper_command = [sys.executable, "-m", "benchmarks.service", "--sleep"]
    with (
        subprocess.Popen(command, cwd=ROOT, stdin=pipe, stdout=pipe, text=True) as server,
        subprocess.Popen(sleeper_command, cwd=ROOT, stdin=pipe, stdout=pipe, text=True) as sleeper,
    ):
        assert server.stdin is not None
        assert server.stdout is not None
        assert sleeper.stdin is not None
        assert sleeper.stdout is not None
        port = int(server.stdout.readline())
        run = Service(f"{'https' if pem else 'http'}://127.0.0.1:{port}", Log())
        sleeper.stdout.readline()
        try:
            yield run
        finally:
            server.stdin.close()
            sleeper.stdin.close()
            connections, requests = json.load(server.stdout)
            run.log.connections = connections
            run.log.requests = [(at, job) for at, job in requests]
            run.log.sleeps_s = json.load(sleeper.stdout)


# -- in the other process ----------------------------------------------------------------------------------------------


class _Connection(asyncio.Protocol):
    def __init__(self, log: Log, options: argparse.Namespace) -> None:
        self.log, self.options = log, options
        self.received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self.log.connections += 1

    def data_received(self, data: bytes) -> None:
        self.received += data
        while b"\r\n\r\n" in self.received:
            request, _, self.received = self.received.partition(b"\r\n\r\n")
            job_id = request.split(b" ", 2)[1].split(b"/")[3].decode()
            number = int(job_id.removeprefix("job-"))
            self.log.requests.append((time.monotonic(), number))
            if self.options.hung and number % HUNG_EVERY == 0:
                continue
            self.log.polls[number] += 1
            fields = FIELDS | ({"status": "completed"} if self.log.polls[number] == self.options.polls else {})
            body = json.dumps({"job_id": job_id, **fields}).encode()
            reply = _HEAD % len(body) + body
            wait = random.uniform(*self.options.latency)
            if wait:
                asyncio.get_running_loop().call_later(wait, self.transport.write, reply)
            else:
                self.transport.write(reply)


_HEAD = (
    b"HTTP/1.1 200 OK\r\nDate: Mon, 23 Nov 2026 12:00:00 GMT\r\nServer: bench\r\nContent-Type: application/json\r\n"
    b"Content-Length: %d\r\n\r\n"
)


async def _serve(log: Log, options: argparse.Namespace) -> None:
    context = None
    if options.pem:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(options.pem)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: _Connection(log, options), "127.0.0.1", ssl=context, backlog=1000)
    print(server.sockets[0].getsockname()[1], flush=True)
    await loop.run_in_executor(None, sys.stdin.read)  # until whoever started it closes our input


def _sleep() -> None:
    late: list[float] = []
    import threading

    ended = threading.Event()
    threading.Thread(target=lambda: (sys.stdin.read(), ended.set()), daemon=True).start()
    print("ready", flush=True)
    due = time.monotonic()
    while not ended.is_set():
        due += 0.005
        time.sleep(max(0.0, due - time.monotonic()))
        late.append(time.monotonic() - due)
    print(json.dumps(late))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--latency", type=float, nargs=2, default=(0.0, 0.0))
    parser.add_argument("--hung", action="store_true")
    parser.add_argument("--pem", default="")
    parser.add_argument("--polls", type=int, default=0)
    parser.add_argument("--sleep", action="store_true")
    given = parser.parse_args()
    if given.sleep:
        _sleep()
    else:
        seen = Log()
        asyncio.run(_serve(seen, given))
        print(json.dumps([seen.connections, seen.requests]))
