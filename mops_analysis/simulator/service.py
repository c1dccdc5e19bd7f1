"""The job stories over HTTP, as the service would serve them."""

from __future__ import annotations

import asyncio
import math
import re
import secrets
import socket
import threading
import time
import zlib
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict
from types import TracebackType
from typing import Annotated

from mops_analysis.errors import ConfigurationError
from mops_analysis.simulator.stories import STORIES, Story

try:
    import uvicorn
    from fastapi import Depends, FastAPI, Header, HTTPException, Path
    from fastapi.responses import JSONResponse
    from starlette.convertors import Convertor, register_url_convertor
except ImportError as error:
    raise ImportError(
        f'the simulator needs FastAPI and uvicorn ({error}): pip install "mops_analysis[simulator]"'
    ) from error

__all__ = ["Simulator", "create_app"]

_MERCHANTS = ("Northwind", "Acme", "Globex", "Initech", "Contoso", "Fabrikam", "Hooli", "Umbrella")
_JOB_ID = re.compile(rf"({'|'.join(map(re.escape, STORIES))})-([1-9][0-9]{{0,3}})")


class _AnyTextConvertor(Convertor[str]):
    # Starlette's own "path" stops at a line break, and an id may hold one.
    regex = r"[\s\S]*"

    def convert(self, value: str) -> str:
        return value

    def to_string(self, value: str) -> str:
        return value


register_url_convertor("any_text", _AnyTextConvertor())


def create_app(
    *,
    seed: int = 0,
    speed: float = 1.0,
    token: str | None = None,
    any_job: bool = False,
    latency_s: float = 0.0,
    begin_when_asked: bool = False,
) -> FastAPI:
    """Build the service; its jobs are created now, or each when it is first asked for.

    Parameters
    ----------
    seed
        Another seed, other jobs.
    speed
        Simulated seconds per real second.
    token
        What `Authorization: Bearer <token>` must hold, else the reply is 401; None: nobody is asked.
    any_job
        Whether every id is a job. Otherwise the jobs are `<story>-<number>`, 1 to 9999, and the reply to any other id
        is 404.
    latency_s
        How long each reply is held back [s].
    begin_when_asked
        Whether a job begins when it is first asked for, for people who start a watch by hand. Otherwise all begin now.

    Returns
    -------
    FastAPI
        An ASGI application with the one documented operation.

    Notes
    -----
    An id of more than 500 characters is refused with 422: so a client can meet the one error reply in the contract.
    """
    app = FastAPI(openapi_url=None)
    created = time.monotonic()
    begun: dict[str, float] = {}

    async def authorize(authorization: Annotated[str | None, Header()] = None) -> None:
        expected = f"Bearer {token}".encode()
        if token is not None and not secrets.compare_digest((authorization or "").encode(), expected):
            raise HTTPException(401, "Not authenticated", headers={"WWW-Authenticate": "Bearer"})

    @app.get("/api/jobs/{job_id:any_text}/status", dependencies=[Depends(authorize)])
    async def get_job_status(job_id: Annotated[str, Path(max_length=500)]) -> JSONResponse:
        found = _find(job_id, any_job=any_job)
        if found is None:
            raise HTTPException(404, "Job not found")
        story, number = found
        await asyncio.sleep(latency_s)
        now = time.monotonic()
        age_s = now - (begun.setdefault(job_id, now) if begin_when_asked else created)
        status = story.status_at(age_s * speed, number=number, seed=seed)
        return JSONResponse(asdict(status) | {"job_id": job_id})

    return app


def _find(job_id: str, *, any_job: bool) -> tuple[Story, int] | None:
    if match := _JOB_ID.fullmatch(job_id):
        return STORIES[match[1]], int(match[2])
    if not any_job:
        return None
    number, index = divmod(zlib.crc32(job_id.encode()), len(STORIES))
    return list(STORIES.values())[index], number % 9999 + 1


class Simulator:
    """The service in a thread of this process, on 127.0.0.1.

    A context manager; `stop` (or leaving the block) closes the port and ends the thread within a second, whoever is
    still connected. It can be started again: the jobs begin anew, and port 0 picks another port.

    Parameters
    ----------
    seed, speed, token, any_job, latency_s, begin_when_asked
        As in `create_app`.
    port
        0 picks a free one.
    stories
        The story or stories of `job_ids`, by name, each as often as it is named; None: every story once. The service
        knows all jobs in any case.

    Attributes
    ----------
    job_ids
        Jobs to watch, such as "clean-import-1".
    labels
        A few human words for each of them, such as "clean import · Northwind".

    Raises
    ------
    ConfigurationError
        If there is no story of that name, or the speed is less than zero.

    Examples
    --------
    >>> simulator = Simulator(stories=["clean-import", "cancelled", "clean-import"])
    >>> simulator.job_ids
    ['clean-import-1', 'cancelled-1', 'clean-import-2']
    >>> simulator.labels["cancelled-1"]
    'cancelled half-way · Acme'
    """

    def __init__(
        self,
        *,
        seed: int = 0,
        speed: float = 60.0,
        token: str | None = None,
        any_job: bool = False,
        port: int = 0,
        latency_s: float = 0.0,
        begin_when_asked: bool = False,
        stories: str | Iterable[str] | None = None,
    ) -> None:
        if isinstance(speed, bool) or not isinstance(speed, int | float) or not 0 <= speed < math.inf:
            raise ConfigurationError(f"speed: expected simulated seconds per second, 0 or more, got {speed!r}")
        self.job_ids: list[str] = []
        self.labels: dict[str, str] = {}
        numbers: Counter[str] = Counter()
        for index, name in enumerate(
            [stories] if isinstance(stories, str) else STORIES if stories is None else stories
        ):
            if name not in STORIES:
                raise ConfigurationError(f"no story is called {name!r}; there are {', '.join(STORIES)}")
            numbers[name] += 1
            job_id = f"{name}-{numbers[name]}"
            self.job_ids.append(job_id)
            self.labels[job_id] = f"{STORIES[name].title} · {_MERCHANTS[index % len(_MERCHANTS)]}"
        self._seed, self._speed, self._token = seed, speed, token
        self._any_job, self._latency_s, self._port = any_job, latency_s, port
        self._begin_when_asked = begin_when_asked
        self._running: tuple[uvicorn.Server, threading.Thread, int] | None = None

    @property
    def url(self) -> str:
        """The address while running, such as "http://127.0.0.1:8123"."""
        if self._running is None:
            raise ConfigurationError("the simulator has no address before start()")
        return f"http://127.0.0.1:{self._running[2]}"

    def start(self) -> Simulator:
        """Create the jobs and serve them; nothing where it is running already.

        Returns
        -------
        Simulator
            Itself.

        Raises
        ------
        ConfigurationError
            If the port is not free.
        """
        if self._running is not None:
            return self
        app = create_app(
            seed=self._seed,
            speed=self._speed,
            token=self._token,
            any_job=self._any_job,
            latency_s=self._latency_s,
            begin_when_asked=self._begin_when_asked,
        )
        try:
            listener = socket.create_server(("127.0.0.1", self._port))
        except (OSError, OverflowError) as error:
            raise ConfigurationError(f"port {self._port} cannot be had ({error}); port 0 picks a free one") from None
        # Without it each reply on a kept connection waits 40 ms for an acknowledgement.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        config = uvicorn.Config(
            app, lifespan="off", ws="none", log_level="critical", access_log=False, timeout_graceful_shutdown=0
        )
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, name="mops-simulator", daemon=True)
        thread.start()
        # A server that is told to stop before it has started keeps its port.
        while not server.started and thread.is_alive():
            time.sleep(0.002)
        self._running = server, thread, listener.getsockname()[1]
        return self

    def stop(self) -> None:
        """Close the port and end the thread; nothing where it is not running."""
        if self._running is None:
            return
        server, thread, _ = self._running
        server.should_exit = True
        thread.join()
        self._running = None

    def __enter__(self) -> Simulator:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()
