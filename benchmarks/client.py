"""CPU per poll of `JobStatusClient.fetch_status`, all checks on, against `Session.get(url, timeout=).json()`.

Run: python benchmarks/client.py [--polls 3000] [--rounds 7] [--variables 20]

Both run in this process against a minimal server in another one, in turns, in an environment of a fixed size, since
`Session.get` reads it for each request. Goal: a ratio of 0.75 at most.
"""

import argparse
import multiprocessing
import os
import socket
import statistics
import sys
import time
from collections.abc import Callable
from multiprocessing.connection import Connection

BODY = (
    b'{"job_id": "job-1", "status": "in_progress", "progress_percentage": 49.83, "processed_items": 12345, '
    b'"total_items": 24773, "failed_items": 17}'
)
REPLY = (
    b"HTTP/1.1 200 OK\r\nDate: Mon, 23 Nov 2026 12:00:00 GMT\r\nServer: bench\r\nContent-Type: application/json\r\n"
    b"Content-Length: %d\r\n\r\n" % len(BODY)
) + BODY


def serve(to_parent: Connection) -> None:
    import threading

    def answer(sock: socket.socket) -> None:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        while sock.recv(65536):
            sock.sendall(REPLY)

    listener = socket.create_server(("127.0.0.1", 0))
    to_parent.send(listener.getsockname()[1])
    while True:
        threading.Thread(target=answer, args=(listener.accept()[0],), daemon=True).start()


def cpu_ms(poll: Callable[[], object], polls: int) -> float:
    begun = time.process_time()
    for _ in range(polls):
        poll()
    return 1000 * (time.process_time() - begun) / polls


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--polls", type=int, default=3000)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--variables", type=int, default=20)
    options = parser.parse_args()
    if os.environ.get("BENCH_ENVIRONMENT") != "fixed":
        fixed = {f"VARIABLE_{number}": "x" * 20 for number in range(options.variables - 1)}
        os.execve(sys.executable, [sys.executable, *sys.argv], fixed | {"BENCH_ENVIRONMENT": "fixed"})

    import requests

    from mops_analysis import JobStatusClient

    to_child, to_parent = multiprocessing.Pipe()
    server = multiprocessing.Process(target=serve, args=(to_parent,), daemon=True)
    server.start()
    base_url = f"http://127.0.0.1:{to_child.recv()}"
    url = f"{base_url}/api/jobs/job-1/status"
    headers = {"Authorization": "Bearer token", "X-Organization-ID": "org-1"}
    with (
        requests.Session() as session,
        JobStatusClient(base_url=base_url, token="token", organization_id="org-1") as client,
    ):
        session.headers.update(headers)
        ways: dict[str, Callable[[], object]] = {
            "Session.get().json()": lambda: session.get(url, timeout=10).json(),
            "fetch_status()": lambda: client.fetch_status("job-1"),
        }
        for poll in ways.values():
            cpu_ms(poll, 100)
        spent = {name: [] for name in ways}
        for _ in range(options.rounds):
            for name, poll in ways.items():
                spent[name].append(cpu_ms(poll, max(1, options.polls // options.rounds)))
    server.terminate()
    medians = {name: statistics.median(times) for name, times in spent.items()}
    for name, median in medians.items():
        print(f"{name:22} {median:.3f} ms CPU per poll ({min(spent[name]):.3f} to {max(spent[name]):.3f})")
    print(
        f"ratio                  {medians['fetch_status()'] / medians['Session.get().json()']:.2f} (goal: 0.75 at most)"
    )


if __name__ == "__main__":
    main()
