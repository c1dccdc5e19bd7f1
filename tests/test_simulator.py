import asyncio
import math
import os
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from urllib.parse import quote

import pytest
import requests

from mops_analysis.client import JobStatusClient
from mops_analysis.errors import ConfigurationError
from mops_analysis.schema import TERMINAL_STATUSES, JobStatus
from mops_analysis.simulator import STORIES, Simulator

# What each story promises: its last status, and processed, total and failed items at the end where they are the point.
ENDS = {
    "clean-import": "completed",
    "slow-warm-up": "completed",
    "rate-limited": "completed",
    "import-then-enrichment": "completed",
    "failure-burst": "partial_success",
    "partial-success": "partial_success",
    "stall-and-recovery": "completed",
    "counter-reset": "completed",
    "cancelled": "cancelled",
    "stuck-in-review": "awaiting_review",
    "reviewed": "completed",
    "late-total": "completed",
    "completed-with-warnings": "completed_with_warnings",
    "completed-with-failures": "completed",
    "inclusive-counts": "partial_success",
    "failed": "failed",
    "early-failures": "partial_success",
    "stuck-at-100": "completed",
    "one-step": "completed",
    "single-item": "completed",
    "empty": "completed",
    "no-total": "completed",
    "percent-only": "completed",
    "upper-case": "COMPLETED",
    "unknown-status": "completed",
}
CLEAN_ENDS = {"clean-import", "rate-limited", "reviewed", "late-total", "completed-with-warnings", "stuck-at-100"} | {
    "one-step", "single-item", "empty", "upper-case", "unknown-status"
}  # fmt: skip
DISJOINT_ENDS = {"slow-warm-up", "import-then-enrichment", "failure-burst", "partial-success", "stall-and-recovery"} | {
    "counter-reset", "completed-with-failures", "early-failures"
}  # fmt: skip
UNEVEN = {"cancelled", "stuck-in-review", "failed", "inclusive-counts", "no-total", "percent-only"}


def life(name: str, *, number: int = 1, seed: int = 0) -> list[JobStatus]:
    """Look at a job every 5 simulated seconds, and once at the end of time."""
    story = STORIES[name]
    seconds = range(0, math.ceil(story.duration_s(number=number, seed=seed)) + 2, 5)
    return [story.status_at(t_s, number=number, seed=seed) for t_s in (*seconds, math.inf)]


@pytest.mark.parametrize("number", [1, 2, 77])
@pytest.mark.parametrize("name", STORIES)
def test_story_ends_as_promised(name: str, number: int) -> None:
    """A job begins pending with nothing done, ends in its story's status, and stays there."""
    first, *_, last = life(name, number=number, seed=3)
    assert first.status.lower() == "pending"
    assert (first.processed_items, first.failed_items, first.progress_percentage) == (0, 0, 0)
    assert last.status == ENDS[name]
    assert STORIES[name].status_at(1e12, number=number, seed=3) == last
    assert last.is_terminal == (name != "stuck-in-review")


@pytest.mark.parametrize("name", STORIES)
def test_terminal_status_never_changes(name: str) -> None:
    """Once terminal, always the same reply."""
    ended = [status for status in life(name) if status.is_terminal]
    assert len(set(ended)) <= 1


def test_a_job_that_begins_when_asked() -> None:
    """Each job begins with its first request, however long the service has run; else all begin with the service."""
    for begins, is_new in ((True, True), (False, False)):
        with Simulator(speed=10_000, begin_when_asked=begins) as simulator:
            time.sleep(0.4)
            with JobStatusClient(base_url=simulator.url) as client:
                assert (client.fetch_status("clean-import-1").status == "pending") == is_new
                time.sleep(0.4)
                assert client.fetch_status("clean-import-1").status == "completed"
                assert (client.fetch_status("clean-import-2").status == "pending") == is_new


def test_every_story_states_how_its_counts_end() -> None:
    """The three groups below hold every story once."""
    assert sorted([*CLEAN_ENDS, *DISJOINT_ENDS, *UNEVEN]) == sorted(STORIES) == sorted(ENDS)


@pytest.mark.parametrize("name", sorted(CLEAN_ENDS))
def test_clean_end_has_every_item_processed(name: str) -> None:
    """Jobs without failures end with all items processed and, where there are items, at 100 %."""
    last = life(name)[-1]
    assert last.failed_items == 0
    assert last.processed_items == last.total_items
    assert last.progress_percentage == (100 if last.total_items else 0)


@pytest.mark.parametrize("name", sorted(DISJOINT_ENDS))
def test_disjoint_counts_end_below_100_percent(name: str) -> None:
    """Disjoint counts add up to the total, and the percentage is of the processed alone."""
    last = life(name)[-1]
    assert last.failed_items > 0
    assert last.processed_items + last.failed_items == last.total_items
    assert last.progress_percentage == round(100 * last.processed_items / last.total_items, 2) < 100


def test_inclusive_counts_end_at_100_percent() -> None:
    """Where processed includes failed it reaches the total by itself."""
    last = life("inclusive-counts")[-1]
    assert last.failed_items > 0
    assert last.processed_items == last.total_items
    assert last.progress_percentage == 100


@pytest.mark.parametrize("name", sorted(set(STORIES) - {"counter-reset"}))
def test_counts_never_fall(name: str) -> None:
    """Processed, failed and total items only grow, except in the story of the reset."""
    statuses = life(name)
    for earlier, later in pairwise(statuses):
        assert earlier.processed_items <= later.processed_items
        assert earlier.failed_items <= later.failed_items
        assert earlier.total_items <= later.total_items


def test_reset_falls_to_zero_once() -> None:
    """On the retry, both counters begin again at nothing; the total stays."""
    statuses = life("counter-reset")
    falls = [b for a, b in pairwise(statuses) if b.processed_items < a.processed_items]
    assert [(fall.processed_items, fall.failed_items) for fall in falls] == [(0, 0)]
    assert len({status.total_items for status in statuses}) == 1


def test_total_doubles_for_the_enrichment() -> None:
    """The import's last percentage is 100, and half of that when the enrichment's items are added."""
    statuses = life("import-then-enrichment")
    totals = list(dict.fromkeys(status.total_items for status in statuses))
    assert totals == [totals[0], 2 * totals[0]]
    at_change = next(i for i, status in enumerate(statuses) if status.total_items == totals[1])
    assert (statuses[at_change - 1].progress_percentage, statuses[at_change].progress_percentage) == (100, 50)


def longest_standstill_s(statuses: list[JobStatus]) -> float:
    """Longest time in progress without any change."""
    longest = current = 0
    for earlier, later in pairwise(statuses[:-1]):
        current = current + 5 if later == earlier and later.status == "in_progress" else 0
        longest = max(longest, current)
    return longest


def test_stall_stands_still_for_minutes() -> None:
    """The stall lasts at least 6 minutes; a clean import never stands still for half of that."""
    for number in (1, 2, 3):
        assert longest_standstill_s(life("stall-and-recovery", number=number)) >= 360
        assert longest_standstill_s(life("clean-import", number=number)) < 180


def items_per_s(name: str, low: float, high: float) -> float:
    """Mean pace between two percentages."""
    statuses = life(name)
    inside = [i for i, status in enumerate(statuses[:-1]) if low <= status.progress_percentage <= high]
    first, last = inside[0], inside[-1]
    return (statuses[last].processed_items - statuses[first].processed_items) / (5 * (last - first))


def test_rate_limited_job_slows_down_half_way() -> None:
    """Between 51 and 61 % the pace is at most a third of what it is before and after."""
    slow = items_per_s("rate-limited", 51, 61)
    assert 3 * slow < items_per_s("rate-limited", 10, 49)
    assert 3 * slow < items_per_s("rate-limited", 65, 99)


def test_warm_up_is_slow() -> None:
    """The first 5 % go at less than a third of the later pace."""
    assert 3 * items_per_s("slow-warm-up", 0.1, 5) < items_per_s("slow-warm-up", 20, 99)


def test_failures_burst_in_the_middle() -> None:
    """Between 47 and 53 % finished, more than a third of the items fail; before, fewer than 3 %."""
    statuses = life("failure-burst")
    total = statuses[0].total_items
    share = [(status.processed_items + status.failed_items) / total for status in statuses]
    before, begin, end = (next(i for i, done in enumerate(share) if done >= at) for at in (0.43, 0.47, 0.53))
    assert statuses[before].failed_items < 0.03 * 0.43 * total
    assert statuses[end].failed_items - statuses[begin].failed_items > (share[end] - share[begin]) * total / 3


def test_all_early_failures_are_in_the_first_batch() -> None:
    """45 failures appear at once, as the first finished items, and no other follows."""
    assert list(dict.fromkeys((s.failed_items, s.processed_items > 0) for s in life("early-failures"))) == [
        (0, False),
        (45, False),
        (45, True),
    ]


def test_one_step_has_nothing_between_nothing_and_all() -> None:
    """0 of 250, then 250 of 250."""
    assert {status.processed_items for status in life("one-step")} == {0, 250}


def test_total_is_known_late() -> None:
    """The total is 0 while the file is downloaded, in progress, and then 500."""
    statuses = life("late-total")
    assert list(dict.fromkeys(s.total_items for s in statuses if s.status == "in_progress")) == [0, 500]


def test_counts_that_are_never_served() -> None:
    """One job never has a total and stays at 0 %; another has nothing but its percentage."""
    assert {(s.total_items, s.progress_percentage) for s in life("no-total")} == {(0, 0)}
    assert life("no-total")[-1].processed_items > 0
    assert {(s.processed_items, s.total_items, s.failed_items) for s in life("percent-only")} == {(0, 0, 0)}
    assert len({s.progress_percentage for s in life("percent-only")}) > 20


def test_review_is_left_again_in_one_story_only() -> None:
    """`reviewed` goes on to the end; `stuck-in-review` waits for ever with items left over."""
    words = list(dict.fromkeys(status.status for status in life("reviewed")))
    assert words == ["pending", "in_progress", "awaiting_review", "completed"]
    stuck = life("stuck-in-review")[-1]
    assert stuck.processed_items < stuck.total_items


def test_odd_statuses() -> None:
    """One story shouts; one uses a word that no document names, long at 100 %, and then completes."""
    assert {status.status for status in life("upper-case")} == {"PENDING", "IN_PROGRESS", "COMPLETED"}
    odd = {status for status in life("unknown-status") if status.status == "publishing"}
    assert {status.progress_percentage for status in odd} == {100}
    assert not TERMINAL_STATUSES & {status.status for status in odd}


def test_stopped_jobs_leave_items_undone() -> None:
    """A failed and a cancelled job end far from their total."""
    assert 28 < life("failed")[-1].progress_percentage < 31
    assert 40 < life("cancelled")[-1].progress_percentage < 44


def test_same_seed_same_story() -> None:
    """The replies follow from story, number, seed and time alone, in whatever order they are asked for."""
    story = STORIES["clean-import"]
    forwards = [story.status_at(t_s, seed=5) for t_s in range(0, 2000, 100)]
    backwards = [story.status_at(t_s, seed=5) for t_s in reversed(range(0, 2000, 100))]
    assert forwards == backwards[::-1]
    assert forwards != [story.status_at(t_s, seed=6) for t_s in range(0, 2000, 100)]
    assert life("clean-import") != life("clean-import", number=2)


def test_same_seed_same_story_in_another_process() -> None:
    """Nothing depends on what differs between two interpreters, such as the seed of their hashes."""
    script = "from mops_analysis.simulator import STORIES; print(STORIES['cancelled'].status_at(1000.0, seed=7))"
    environment = os.environ | {"PYTHONHASHSEED": "1234"}
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, env=environment)
    assert run.stdout.strip() == str(STORIES["cancelled"].status_at(1000.0, seed=7))


@pytest.mark.parametrize("name", list(STORIES)[:10])
def test_shown_stories_take_a_while(name: str) -> None:
    """The ten stories to show take between 15 and 60 simulated minutes."""
    assert all(15 * 60 < STORIES[name].duration_s(number=number) < 60 * 60 for number in range(1, 20))


@pytest.fixture(scope="module")
def frozen() -> Iterator[Simulator]:
    """The service at the very beginning of every job."""
    with Simulator(speed=0.0) as simulator:
        yield simulator


@pytest.fixture(scope="module")
def any_job() -> Iterator[Simulator]:
    """The service to which every id is a job."""
    with Simulator(any_job=True) as simulator:
        yield simulator


@pytest.fixture(scope="module")
def signed_in_only() -> Iterator[Simulator]:
    """The service that asks for a token."""
    with Simulator(token="canary") as simulator:
        yield simulator


def get(simulator: Simulator, path: str, *, method: str = "GET", headers: object = None) -> requests.Response:
    """Send one request."""
    return requests.request(method, simulator.url + path, headers=headers, timeout=5)


def test_reply_is_the_story(frozen: Simulator) -> None:
    """At speed 0 each job is as its story begins, under the id asked for."""
    for job_id, name in (("clean-import-1", "clean-import"), ("cancelled-9999", "cancelled")):
        reply = get(frozen, f"/api/jobs/{job_id}/status").json()
        assert JobStatus.from_reply(reply, job_id) == STORIES[name].status_at(0.0, number=int(job_id.split("-")[-1]))


@pytest.mark.parametrize(
    "job_id", ["nobody", "clean-import", "clean-import-0", "clean-import-01", "clean-import-10000", "x/clean-import-1"]
)
def test_unknown_id_is_404(frozen: Simulator, job_id: str) -> None:
    """An id of no story, or with no number from 1 to 9999, does not exist."""
    reply = get(frozen, f"/api/jobs/{job_id}/status")
    assert (reply.status_code, reply.json()) == (404, {"detail": "Job not found"})


def test_other_paths_are_404(frozen: Simulator) -> None:
    """There is one operation and nothing beside it, no documentation pages either."""
    for path in ("/", "/docs", "/openapi.json", "/api/jobs/clean-import-1", "/api/jobs/clean-import-1/status/x"):
        assert get(frozen, path).status_code == 404


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS", "TRACE"])
def test_other_methods_are_405(frozen: Simulator, method: str) -> None:
    """Only GET is allowed, and the reply says so."""
    reply = get(frozen, "/api/jobs/clean-import-1/status", method=method)
    assert (reply.status_code, reply.headers["Allow"]) == (405, "GET")


def test_overlong_id_is_422(frozen: Simulator) -> None:
    """The contract's validation error: a list of loc, msg and type."""
    reply = get(frozen, f"/api/jobs/{'x' * 501}/status")
    assert reply.status_code == 422
    assert [(error["loc"], error["type"]) for error in reply.json()["detail"]] == [
        (["path", "job_id"], "string_too_long")
    ]


@pytest.mark.parametrize(
    "header", [None, "Bearer wrong", "Bearer", "canary", "bearer canary", "Basic canary", "Bearer é"]
)
def test_wrong_credential_is_401(signed_in_only: Simulator, header: str | None) -> None:
    """Without the very token, nothing is said about any job, existing or not."""
    headers = {} if header is None else {"Authorization": header.encode()}
    for job_id in ("clean-import-1", "nobody"):
        reply = get(signed_in_only, f"/api/jobs/{job_id}/status", headers=headers)
        assert (reply.status_code, reply.json()) == (401, {"detail": "Not authenticated"})
        assert reply.headers["WWW-Authenticate"] == "Bearer"


def test_right_credential_is_let_in(signed_in_only: Simulator) -> None:
    """With the token, jobs exist or do not."""
    headers = {"Authorization": "Bearer canary"}
    assert get(signed_in_only, "/api/jobs/clean-import-1/status", headers=headers).status_code == 200
    assert get(signed_in_only, "/api/jobs/nobody/status", headers=headers).status_code == 404


@pytest.mark.parametrize(
    "job_id",
    ["job-1", "a/b", "line\nbreak\n", "é ü", "50%25", "\x00\x1f\x7f", "a?b#c", "\\", " ", "..%2f", "/status", ""],
)
def test_any_job_mode_knows_every_id(any_job: Simulator, job_id: str) -> None:
    """Whatever the id, percent-encoded into the path, it is a job, and the reply is about it."""
    reply = get(any_job, f"/api/jobs/{quote(job_id, safe='')}/status")
    assert reply.status_code == 200
    assert JobStatus.from_reply(reply.json(), job_id).job_id == job_id


def test_time_runs_at_speed() -> None:
    """At 10,000 times real time every job has ended after half a second, except the one in review."""
    with Simulator(speed=10_000.0) as simulator:
        time.sleep(0.5)
        last = {job_id: get(simulator, f"/api/jobs/{job_id}/status").json()["status"] for job_id in simulator.job_ids}
    assert {job_id.removesuffix("-1"): status for job_id, status in last.items()} == ENDS


def test_job_ids_and_labels() -> None:
    """Ids are story and number, numbered where a story is named twice; each has a label of its own."""
    simulator = Simulator(stories=["cancelled", "clean-import", "cancelled"])
    assert simulator.job_ids == ["cancelled-1", "clean-import-1", "cancelled-2"]
    assert list(simulator.labels) == simulator.job_ids
    assert len(set(simulator.labels.values())) == 3
    assert Simulator().job_ids == [f"{name}-1" for name in STORIES]
    assert Simulator(stories="cancelled").job_ids == ["cancelled-1"]


@pytest.mark.parametrize("speed", [-1, math.nan, math.inf, "60", True])
def test_speed_is_a_number(speed) -> None:
    """Time that runs backwards would keep every job waiting for good; time may stand still."""
    with pytest.raises(ConfigurationError, match="speed: expected simulated seconds per second, 0 or more"):
        Simulator(speed=speed)


def test_unknown_story_is_refused() -> None:
    """The error names the stories that there are."""
    with pytest.raises(ConfigurationError, match=r"no story is called 'clean'.*clean-import"):
        Simulator(stories=["clean"])


def test_taken_port_is_refused() -> None:
    """The error names the port and the cure."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ConfigurationError, match=rf"port {port} cannot be had.*port 0"):
            Simulator(port=port).start()


def test_url_needs_a_start() -> None:
    """Before the start there is no port, so no address."""
    with pytest.raises(ConfigurationError, match=re.escape("before start()")):
        _ = Simulator().url


def test_stop_leaves_nothing_behind() -> None:
    """Started and stopped three times, twice each: no thread stays, the port is closed, all within a second."""
    before = threading.active_count()
    simulator = Simulator()
    for _ in range(3):
        simulator.start()
        url = simulator.start().url
        with requests.Session() as kept_alive:
            kept_alive.get(f"{url}/api/jobs/clean-import-1/status", timeout=5)
            began = time.monotonic()
            simulator.stop()
            simulator.stop()
            assert time.monotonic() - began < 1
        assert threading.active_count() == before
        with pytest.raises(requests.ConnectionError):
            requests.get(url, timeout=1)


def test_stop_does_not_wait_for_a_held_reply() -> None:
    """A reply that is held back for a minute does not hold up the stop."""
    simulator = Simulator(latency_s=60.0).start()
    with socket.create_connection(("127.0.0.1", int(simulator.url.rsplit(":")[-1]))) as client:
        client.sendall(b"GET /api/jobs/clean-import-1/status HTTP/1.1\r\nHost: x\r\n\r\n")
        time.sleep(0.1)
        began = time.monotonic()
        simulator.stop()
        assert time.monotonic() - began < 1


def test_latency_holds_replies_back() -> None:
    """A reply takes at least the latency asked for."""
    with Simulator(latency_s=0.2) as simulator:
        assert get(simulator, "/api/jobs/clean-import-1/status").elapsed.total_seconds() >= 0.2


def test_works_under_a_running_event_loop() -> None:
    """A notebook has a running event loop; the simulator does not mind."""

    async def cell() -> int:
        with Simulator() as simulator:
            return get(simulator, "/api/jobs/clean-import-1/status").status_code

    with ThreadPoolExecutor(1) as thread:  # in a thread, since this one may have a loop running: a browser test's
        assert thread.submit(lambda: asyncio.run(cell())).result(timeout=30) == 200


def test_kept_connections_are_fast() -> None:
    """Fifty replies on one connection take well under the 40 ms each of a delayed acknowledgement."""
    with Simulator() as simulator, requests.Session() as session:
        began = time.monotonic()
        for _ in range(50):
            session.get(f"{simulator.url}/api/jobs/clean-import-1/status", timeout=5)
        assert time.monotonic() - began < 1


def test_prints_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    """Neither replies, good or bad, nor start and stop write to the terminal."""
    with Simulator() as simulator:
        get(simulator, "/api/jobs/clean-import-1/status")
        get(simulator, "/api/jobs/nobody/status")
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("missing", ["fastapi", "uvicorn"])
def test_missing_extra_names_the_cure(missing: str) -> None:
    """Without FastAPI or uvicorn, the import says what to install."""
    script = f"import sys; sys.modules[{missing!r}] = None; import mops_analysis.simulator"
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert run.returncode == 1
    assert 'pip install "mops_analysis[simulator]"' in run.stderr
