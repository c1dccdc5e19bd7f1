"""Every fault of the table, end to end: faulty server, real client, sampler, store, and `mops watch` in processes.

A row of the table below is one fault as it befalls a running job: sample, fault, sample, end. Each is run alone, in a
sampler and a store of its own, and beside healthy jobs. What befalls a whole service has tables of its own.
"""

import contextlib
import json
import os
import resource
import signal
import sqlite3
import ssl
import subprocess
import sys
import threading
import time
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from email.utils import formatdate
from itertools import pairwise
from pathlib import Path

import pandas as pd
import pytest
import trustme
from faulty_server import (
    FaultyServer,
    black_hole,
    body_of,
    close,
    flood,
    hang,
    head,
    raw,
    refused,
    reply,
    reset,
    sample,
    trickle,
)
from test_client import FAULTS, ODD_VALUES, SAMPLES, TOKEN, fields

import mops_analysis as mops
from mops_analysis.cli.watch import _exit_code
from mops_analysis.errors import PERMANENT_FAULTS
from mops_analysis.store import SampleStore

DEADLINE_S = 1.0
EXIT_CODES = {"auth": 3, "forbidden": 4, "not_found": 5, "client": 5, "quota": 6, "gave_up": 7, "timed_out": 7}

#: Broken on a connection that was kept open, these are asked once more in silence; so it takes two of them for a fault.
ASKED_TWICE = {"empty reply", "RST before the reply"}


def end(**changed):
    return sample(**{"status": "completed", "processed_items": 9, **changed})


def clients(server, **options):
    return mops.JobStatusClient(base_url=server.url, **{"deadline_s": DEADLINE_S, **options})


def story(name):
    """What the server does for a row's job, the polls that the store must hold, and the counts of the samples."""
    behaviour, kind, _, _ = FAULTS[name]
    faults = [behaviour] * (2 if name in ASKED_TWICE else 1)
    script = [sample(processed_items=1), *faults, sample(processed_items=2), end()]
    if kind in PERMANENT_FAULTS:
        return script, ["ok", kind], [1]
    return script, ["ok", kind, "ok", "ok"], [1, 2, 9]


def check(name, job_id, row, store, server):
    """The row's job: kinds and samples in the store, how the watch ended, the exit code, the number of requests."""
    script, outcomes, counts = story(name)
    kind = outcomes[1]
    polls = store.read_polls(job_id)
    assert polls["outcome"].tolist() == outcomes, name
    assert store.read_samples(job_id)["processed_items"].tolist() == counts, name
    assert polls["sampled_at"].is_monotonic_increasing
    assert row.outcome == (kind if kind in PERMANENT_FAULTS else "ended"), name
    assert _exit_code(row, fail_on_review=False) == EXIT_CODES.get(row.outcome, 0), name
    assert len(server.of(job_id)) == (2 if kind in PERMANENT_FAULTS else len(script)), name
    if kind == "timeout":
        assert polls["latency_s"].max() < DEADLINE_S + 1, name


def test_each_fault_alone(tmp_path):
    """Each fault in a watch of its own: its kind is one row, no sample is lost or made up, the end is as listed."""
    with FaultyServer({name: story(name)[0] for name in FAULTS}) as server, ThreadPoolExecutor(12) as pool:

        def watch(name):
            path = tmp_path / f"{list(FAULTS).index(name)}.db"
            with SampleStore(path) as store, clients(server) as client:
                sampler = mops.Sampler(client, store, interval_s=0.1)
                sampler.watch(name, timeout_s=20, progress=False)
                check(name, name, sampler.outcomes()[0], store, server)

        list(pool.map(watch, FAULTS))


def longest_gap(server, job_id):
    return max(b.at - a.at for a, b in pairwise(server.of(job_id)))


#: A job that counts up and ends with its ninth poll.
HEALTHY = [*[sample(processed_items=n) for n in range(8)], end()]


def check_healthy(rows, store, server):
    """Healthy jobs: not a fault, every sample that was served, and no gap in the cadence."""
    for row in rows:
        assert (row.outcome, row.polls, row.failures) == ("ended", 9, 0), row
        assert store.read_samples(row.job_id)["processed_items"].tolist() == [*range(8), 9]
        assert longest_gap(server, row.job_id) < 1.2


def test_each_fault_beside_healthy_jobs(tmp_path):
    """Four faults and three healthy jobs to a sampler: each fault ends as it does alone, the others notice nothing."""
    groups = [[name for name in FAULTS if name != "401"][at::26] for at in range(26)]
    script = {name: story(name)[0] for name in FAULTS}
    script |= {f"healthy-{at}-{n}": HEALTHY for at in range(26) for n in range(3)}
    with FaultyServer(script) as server, ThreadPoolExecutor(13) as pool:

        def watch(at):
            healthy = [f"healthy-{at}-{n}" for n in range(3)]
            with SampleStore(tmp_path / f"{at}.db") as store, clients(server) as client:
                sampler = mops.Sampler(client, store, interval_s=0.4)
                sampler.watch([*groups[at], *healthy], timeout_s=30, progress=False)
                rows = sampler.outcomes()
                for row in rows[:-3]:
                    check(row.job_id, row.job_id, row, store, server)
                check_healthy(rows[-3:], store, server)

        list(pool.map(watch, range(26)))


def redirects(sink):
    """Every place that a redirect may lead to; `sink` is another server."""
    places = {
        "host and port": f"{sink.url}/api/jobs/job-1/status",
        "//host": f"//127.0.0.1:{sink.port}/x",
        "userinfo": f"http://user:pw@127.0.0.1:{sink.port}/",
        "login page": f"{sink.url}/login?next=%2Fapi",
        "loop": "/api/jobs/loop/status",
        "other job": "/api/jobs/healthy-0/status",
        "file": "file:///etc/passwd",
        "empty": "",
        "bad address": "http://[bad",
        "no such host": "https://no-such-host.invalid/",
    }
    return {
        name: reply((301, 302, 303, 307, 308)[n % 5], b"", f"Location: {place}")
        for n, (name, place) in enumerate(places.items())
    }


def test_redirects_reach_nobody_beside_healthy_jobs(store):
    """Wherever it leads, a redirect is a row of its kind; nobody else gets a connection, no job a further request."""
    with FaultyServer() as sink:
        script = {name: [sample(), answer, sample(), end()] for name, answer in redirects(sink).items()}
        healthy = [f"healthy-{n}" for n in range(3)]
        names = list(script)
        with FaultyServer(script | dict.fromkeys(healthy, HEALTHY)) as server, clients(server, token=TOKEN) as client:
            sampler = mops.Sampler(client, store, interval_s=0.4)
            sampler.watch([*names[:5], *healthy, *names[5:]], timeout_s=20, progress=False)
            rows = {row.job_id: row for row in sampler.outcomes()}
            check_healthy([rows[job_id] for job_id in healthy], store, server)
            for name in names:
                assert (rows[name].outcome, len(server.of(name))) == ("ended", 4), name
                assert store.read_polls(name)["outcome"].tolist() == ["ok", "redirect", "ok", "ok"], name
            assert {request.job_id for request in server.requests} == rows.keys()
        assert sink.connections == 0
    assert not store.read_polls()["detail"].str.contains("pw").any()


def certificates(folder):
    """A file with an authority, its good context for a server, and by name those that it does not vouch for."""
    authority, stranger = trustme.CA(), trustme.CA()
    authority.cert_pem.write_to_path(str(folder / "ca.pem"))
    long_ago = datetime(2020, 1, 1, tzinfo=UTC)
    leaves = {
        "good": authority.issue_cert("127.0.0.1"),
        "of a stranger": stranger.issue_cert("127.0.0.1"),
        "of another host": authority.issue_cert("other.example"),
        "expired": authority.issue_cert("127.0.0.1", not_after=long_ago),
    }
    contexts = {name: ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER) for name in [*leaves, "self-signed"]}
    for name, leaf in leaves.items():
        leaf.configure_cert(contexts[name])
    with stranger.cert_pem.tempfile() as certificate, stranger.private_key_pem.tempfile() as key:
        contexts["self-signed"].load_cert_chain(certificate, key)
    return folder / "ca.pem", contexts.pop("good"), contexts


def test_a_service_out_of_reach_beside_a_healthy_one(tmp_path):
    """No host, no port, no answer, no good certificate: rows of its kind, nothing sent; another watch goes on evenly.

    All of them write to one store at the same time, and each ends with a timeout, exit code 7.
    """
    ca_file, _, untrusted = certificates(tmp_path)
    with contextlib.ExitStack() as stack:
        servers = {name: stack.enter_context(FaultyServer(tls=context)) for name, context in untrusted.items()}
        servers["no TLS"] = stack.enter_context(FaultyServer(on_connect=raw(b"HTTP/1.1 400 Bad Request\r\n\r\n")))
        servers["silent"] = stack.enter_context(FaultyServer(on_connect=hang()))
        rows = {name: (f"https://127.0.0.1:{server.port}", "tls") for name, server in servers.items()}
        rows["silent"] = (rows["silent"][0], "timeout")
        rows["refused"] = (stack.enter_context(refused()), "connection")
        rows["black hole"] = (stack.enter_context(black_hole()), "timeout")
        rows["no such host"] = ("http://no-such-host.invalid", "connection")
        healthy = [f"healthy-{n}" for n in range(3)]
        server = stack.enter_context(FaultyServer(dict.fromkeys(healthy, HEALTHY)))
        store = stack.enter_context(SampleStore(tmp_path / "samples.db"))

        def watch(name):
            url, _ = rows[name]
            options = {"ca_bundle": ca_file, "deadline_s": 0.5, "allow_insecure": True, "token": TOKEN}
            with mops.JobStatusClient(base_url=url, **options) as client:
                sampler = mops.Sampler(client, store, interval_s=0.2)
                sampler.watch(name, timeout_s=3, progress=False)
                return sampler.outcomes()[0]

        with ThreadPoolExecutor(len(rows)) as pool:
            watches = {name: pool.submit(watch, name) for name in rows}
            with clients(server) as client:
                sampler = mops.Sampler(client, store, interval_s=0.2)
                sampler.watch(healthy, timeout_s=20, progress=False)
                check_healthy(sampler.outcomes(), store, server)
            for name, (_, kind) in rows.items():
                row = watches[name].result(20)
                assert (row.outcome, _exit_code(row, fail_on_review=False)) == ("timed_out", 7), name
                outcomes = store.read_polls(name)["outcome"].tolist()
                assert set(outcomes) == {kind}, (name, outcomes)
                assert 2 <= len(outcomes) <= 12, name
        assert not [name for name, server in servers.items() if server.requests]
        assert set(store.read_samples()["job_id"]) == set(healthy)


def test_a_service_goes_and_comes_back(tmp_path):
    """An outage of a second in any form: rows of its kind, and before and after it every sample that was served."""
    ca_file, good, untrusted = certificates(tmp_path)

    @contextlib.contextmanager
    def bad_certificate(server):
        server.tls = untrusted["expired"]
        yield
        server.tls = good

    @contextlib.contextmanager
    def answering(server, behaviour):
        usual, server.script = server.script, lambda *_: behaviour
        yield
        server.script = usual

    outages = {
        "refused": (FaultyServer.down, {"connection"}),
        "tls": (bad_certificate, {"tls"}),
        "500": (lambda server: answering(server, reply(500, body_of)), {"server"}),
        "502": (lambda server: answering(server, reply(502, b"<html>Bad Gateway</html>")), {"server"}),
        "503": (lambda server: answering(server, reply(503)), {"server"}),
        "504": (lambda server: answering(server, reply(504)), {"server"}),
        "429": (lambda server: answering(server, reply(429)), {"rate_limited"}),
        "RST": (lambda server: answering(server, reset), {"connection"}),
        "hang": (lambda server: answering(server, hang()), {"timeout"}),
        "captive portal": (lambda server: answering(server, reply(302, b"", "Location: /login")), {"redirect"}),
        "login page": (lambda server: answering(server, reply(200, b"<html>Sign in</html>")), {"not_json"}),
        "418": (lambda server: answering(server, reply(418)), {"http"}),
    }
    counts = {name: defaultdict(int) for name in outages}

    def watch(name):
        outage, kinds = outages[name]
        served = counts[name]

        def count(exchange):
            served[exchange.job_id] += 1
            fields = {"processed_items": served[exchange.job_id]} | ({"status": "completed"} if over.is_set() else {})
            return reply(200, body_of(exchange.job_id, **fields), "Connection: close")(exchange)

        over = threading.Event()
        jobs = [f"job-{n}" for n in range(3)]
        with (
            FaultyServer(lambda *_: count, tls=good if name == "tls" else None) as server,
            SampleStore(tmp_path / f"{name}.db") as store,
            clients(server, deadline_s=0.4, ca_bundle=ca_file) as client,
            mops.Sampler(client, store, interval_s=0.2) as sampler,
        ):
            sampler.start(jobs)
            wait_for(lambda: all(served[job] >= 2 for job in jobs))
            with outage(server):
                time.sleep(1)
            wait_for(lambda: all(row.fault is None for row in sampler.outcomes()))
            over.set()
            assert sampler.wait(20)
            polls = store.read_polls()
            for job in jobs:
                assert store.read_samples(job)["processed_items"].tolist() == [*range(1, served[job] + 1)], name
            faults = polls[polls["outcome"] != "ok"]
            assert set(faults["outcome"]) == kinds, name
            assert faults["processed_items"].isna().all()
            assert {row.outcome for row in sampler.outcomes()} == {"ended"}

    with ThreadPoolExecutor(len(outages)) as pool:
        list(pool.map(watch, outages))


#: What the analysis says of a job whose second sample has an odd value.
FLAGS = {
    "negative": {"counter_reset"},
    "processed > total": {"inconsistent_counts"},
    "failed > processed": {"inconsistent_counts"},
    "total 0": {"total_changed"},
    "progress 250": {"inconsistent_counts"},
    "unknown status": {"unknown_status"},
}


def test_good_and_odd_replies_are_stored_as_they_came(tmp_path):
    """Every form of a good reply and every odd value gives one sample each, as served; the analysis copes with them."""
    good = {f"good {name}": [behaviour, behaviour, end()] for name, behaviour in SAMPLES.items()}
    odd = {f"odd {name}": [sample(), fields(**changed), sample(), end()] for name, changed in ODD_VALUES.items()}
    steps = {
        "reset": [sample(processed_items=n, total_items=50) for n in (10, 20, 3, 13)],
        "total grows": [sample(processed_items=n, total_items=10 * n) for n in (1, 2, 3, 4)],
        "spikes": [sample(after_s=0.3 * (n % 2), processed_items=n) for n in range(4)],
    }
    script = good | odd | {name: [*step, end(total_items=50)] for name, step in steps.items()}
    with (
        FaultyServer(script) as server,
        SampleStore(tmp_path / "samples.db") as store,
        clients(server) as client,
    ):
        sampler = mops.Sampler(client, store, interval_s=0.2)
        with pytest.warns(UserWarning, match="is not one we know"):
            frame = sampler.watch(list(script), timeout_s=20, progress=False)
        assert set(frame["outcome"]) == {"ended"}
        assert frame["failures"].sum() == 0
        assert len(server.requests) == frame["polls"].sum()
        polls = store.read_polls()
        samples = store.read_samples()
    by_job = dict(list(polls.groupby("job_id")))
    for name in SAMPLES:
        assert by_job[f"good {name}"]["processed_items"].tolist() == [5, 5, 9]
    for name, changed in ODD_VALUES.items():
        row = by_job[f"odd {name}"].iloc[1]
        assert {column: row[column] for column in changed} == changed
    assert by_job["reset"]["processed_items"].tolist() == [10, 20, 3, 13, 9]
    assert by_job["total grows"]["total_items"].tolist() == [10, 20, 30, 40, 50]
    assert (by_job["good slow"]["latency_s"].iloc[:2] >= 0.2).all()
    assert (by_job["spikes"]["latency_s"] >= 0.3).tolist() == [False, True, False, True, False]
    assert (polls["sampled_at"] - pd.Timestamp.now("UTC")).abs().max() < pd.Timedelta("1min")  # whatever Date said
    assert len(mops.summary(samples)) == len(script)
    throughput = mops.throughput(samples, window=10)
    assert (throughput["items_per_s"].dropna() >= 0).all()
    anomalies = mops.anomalies(samples)
    flags = {job_id: set(kinds) for job_id, kinds in anomalies.groupby("job_id")["kind"]}
    assert flags["reset"] >= {"counter_reset"}
    assert flags["total grows"] >= {"total_changed"}
    for name, kinds in FLAGS.items():
        assert flags.get(f"odd {name}", set()) >= kinds, name


LAST = {
    "completed": ("ended", 0),
    "COMPLETED_WITH_WARNINGS": ("ended", 0),
    "partial_success": ("ended", 5),
    "failed": ("ended", 5),
    "cancelled": ("ended", 5),
    "awaiting_review": ("awaiting_review", 0),
}


def test_the_last_status_ends_the_watch(store):
    """A terminal status is stored and ends its job with its exit code, without one more request; the others go on."""
    script = {word: [sample(), sample(status=word)] for word in LAST}
    with FaultyServer(script | {"healthy": HEALTHY}) as server, clients(server) as client:
        sampler = mops.Sampler(client, store, interval_s=0.05)
        sampler.watch([*LAST, "healthy"], progress=False, timeout_s=20)
        time.sleep(0.15)
        *rows, healthy = sampler.outcomes()
        check_healthy([healthy], store, server)
        for row in rows:
            ends = (row.outcome, _exit_code(row, fail_on_review=False))
            assert (ends, len(server.of(row.job_id))) == (LAST[row.job_id], 2)
            assert store.read_samples(row.job_id)["status"].tolist() == ["in_progress", row.job_id.lower()]


def test_a_stale_connection_loses_no_sample(store):
    """A server that breaks the kept connection every other time: each poll is a sample all the same."""
    script = [sample(processed_items=1)]
    for n in range(2, 7):
        script += [(close, reset)[n % 2], sample(processed_items=n)]
    with FaultyServer({"job-1": [*script, end()]}) as server, clients(server) as client:
        mops.Sampler(client, store, interval_s=0.05).watch("job-1", progress=False, timeout_s=20)
    assert store.read_polls()["outcome"].unique().tolist() == ["ok"]
    assert store.read_samples()["processed_items"].tolist() == [1, 2, 3, 4, 5, 6, 9]


# ---------------------------------------------------------------- manners

DEAD = {"429": reply(429), "503": reply(503), "RST": reset, "hang": hang()}


def test_a_dead_service_is_asked_rarely(tmp_path):
    """Dead in any way, at 0.2 s: at most 16 requests in 4 s (22 in 10 s), for one job as for two hundred."""

    def watch(name, jobs, url):
        path = tmp_path / f"{name}-{jobs}.db"
        with SampleStore(path) as store, mops.JobStatusClient(base_url=url) as client:
            job_ids = [f"{name}-{jobs}-{n}" for n in range(jobs)]
            frame = mops.Sampler(client, store, 0.2).watch(job_ids, timeout_s=4, progress=False)
            assert set(frame["outcome"]) == {"timed_out"}
            return len(store.read_polls())

    with FaultyServer(lambda job_id, _: DEAD[job_id.split("-")[0]]) as server, refused() as nobody:
        urls = dict.fromkeys(DEAD, server.url) | {"refused": nobody}
        cases = [(name, jobs, url) for name, url in urls.items() for jobs in (1, 6, 40, 200)]
        with ThreadPoolExecutor(len(cases)) as pool:
            polls = dict(zip(cases, pool.map(watch, *zip(*cases, strict=True)), strict=True))
        for (name, jobs, url), count in polls.items():
            asked = [request for request in server.requests if request.job_id.startswith(f"{name}-{jobs}-")]
            requests = len(asked) if url == server.url else count
            assert min(jobs, 3) <= requests <= 16, (name, jobs, requests)
            assert count == (requests if name != "hang" else 0)


def test_a_service_that_dies_under_way_is_asked_rarely(tmp_path):
    """Forty jobs at 0.2 s, all fine; then the service dies, in any way: some twenty requests in the next 4 s."""
    dead = threading.Event()

    def answer(job_id, _):
        return DEAD[job_id.split("-")[0]] if dead.is_set() else sample()

    with FaultyServer(answer) as server, contextlib.ExitStack() as stack:
        jobs = {name: [f"{name}-{n}" for n in range(40)] for name in DEAD}
        for name, job_ids in jobs.items():
            store = stack.enter_context(SampleStore(tmp_path / f"{name}.db"))
            client = stack.enter_context(mops.JobStatusClient(base_url=server.url))
            stack.enter_context(mops.Sampler(client, store, interval_s=0.2)).start(job_ids)
        wait_for(lambda: all(len(server.of(job)) >= 2 for job_ids in jobs.values() for job in job_ids))
        dead.set()
        died_at = time.monotonic()
        time.sleep(4)
        for name in DEAD:
            asked = [r for r in server.requests if r.job_id.startswith(name) and r.at > died_at]
            assert 8 <= len(asked) <= 40, (name, len(asked))  # 800 without a brake


def in_a_second(offset_s=0.0):
    """A Retry-After date one to two seconds from the reply's own Date, which may be far off ours."""

    def behave(exchange):
        now = time.time() + offset_s
        headers = [f"Date: {formatdate(now, usegmt=True)}", f"Retry-After: {formatdate(now + 1, usegmt=True)}"]
        return reply(503, b"", *headers)(exchange)

    return behave


FLOORS = {
    "seconds": (reply(429, b"", "Retry-After: 1"), 1.0),
    "fraction": (reply(503, b"", "Retry-After: 0.7"), 0.7),
    "date": (in_a_second(), 1.0),
    "date, server a day ahead": (in_a_second(86400.0), 1.0),
    "0": (reply(429, b"", "Retry-After: 0"), 0.1),
    "none": (reply(429), 0.1),
    "past": (reply(503, b"", f"Retry-After: {formatdate(0, usegmt=True)}"), 0.1),
    "negative": (reply(429, b"", "Retry-After: -5"), 0.1),
    "garbage": (reply(429, b"", "Retry-After: 1m0s"), 0.1),
    "bad date": (reply(503, b"", "Retry-After: Fri, 31 Dec 99999 23:59:59 GMT"), 0.1),
}


def test_retry_after_is_a_floor_in_all_its_forms(store):
    """No request comes earlier than the service asked for, in whatever form."""
    script = {name: [behaviour, end()] for name, (behaviour, _) in FLOORS.items()}
    with FaultyServer(script) as server, clients(server) as client:
        frame = mops.Sampler(client, store, interval_s=0.1).watch(list(FLOORS), timeout_s=20, progress=False)
        assert set(frame["outcome"]) == {"ended"}
        for name, (_, floor_s) in FLOORS.items():
            first, second = server.of(name)
            assert second.at - first.at >= floor_s, name


def test_pollers_that_are_told_to_wait_do_not_come_back_together(store):
    """Six jobs are told at the same instant to wait a second: none comes earlier, and they come back spread."""
    together = threading.Barrier(6)
    told = {}

    def wait(exchange):
        together.wait(5)
        told[exchange.job_id] = time.monotonic()
        return reply(429, b"", "Retry-After: 1")(exchange)

    with FaultyServer({f"job-{n}": [wait, end()] for n in range(6)}) as server, clients(server) as client:
        mops.Sampler(client, store, interval_s=0.1).watch([f"job-{n}" for n in range(6)], progress=False, timeout_s=20)
        waits = [server.of(job_id)[1].at - told_at for job_id, told_at in told.items()]
    assert min(waits) >= 1
    assert max(waits) - min(waits) >= 0.05


@pytest.mark.parametrize("asked", ["999999999", "9" * 5000])
def test_a_service_that_asks_for_ever_is_given_up(store, asked):
    """A wait of years is not waited for: one request, outcome gave_up, exit code 7."""
    with FaultyServer({"job-1": reply(429, b"", f"Retry-After: {asked}")}) as server, clients(server) as client:
        sampler = mops.Sampler(client, store, interval_s=0.05)
        sampler.watch("job-1", progress=False, timeout_s=20)
        [row] = sampler.outcomes()
        assert (row.outcome, _exit_code(row, fail_on_review=False), len(server.requests)) == ("gave_up", 7, 1)


@pytest.mark.parametrize("good_polls", [0, 2])
def test_a_refused_credential_stops_all_jobs(store, good_polls):
    """401 for one of six jobs, at once or after some polls: exit code 3 for all, at most one more request."""
    script = {f"job-{n}": sample() for n in range(5)} | {"refused": [*[sample()] * good_polls, reply(401)]}
    with FaultyServer(script) as server, clients(server, token=TOKEN) as client:
        sampler = mops.Sampler(client, store, interval_s=0.2)
        sampler.watch(list(script), progress=False, timeout_s=10)
        refused_at = server.of("refused")[good_polls].at
        time.sleep(0.3)
        assert sum(request.at > refused_at for request in server.requests) <= 1
        assert {row.outcome for row in sampler.outcomes()} == {"auth"}
        assert {_exit_code(row, fail_on_review=False) for row in sampler.outcomes()} == {3}
        assert store.read_polls("refused")["outcome"].tolist() == ["ok"] * good_polls + ["auth"]
        assert len(store.read_polls()) >= len(server.requests) - 1


def test_a_token_that_expires_under_way_is_replaced(store):
    """The token function is asked once for a new token after a 401; no job has a fault, no sample is lost."""
    tokens = iter(["token-1", "token-2", "unused"])

    def guarded(exchange):
        is_old = exchange.request.headers["authorization"] == "Bearer token-1"
        return (reply(401) if is_old and len(server.requests) > 9 else sample())(exchange)

    def answer(job_id, number):
        return end() if number > 5 else guarded

    with FaultyServer(answer) as server, clients(server, token=lambda: next(tokens)) as client:
        frame = mops.Sampler(client, store, interval_s=0.2).watch(
            ["job-1", "job-2", "job-3"], progress=False, timeout_s=20
        )
        assert set(frame["outcome"]) == {"ended"}
        assert frame["failures"].sum() == 0
    assert next(tokens) == "unused"


def test_a_service_that_comes_back_is_not_stormed(store):
    """After an outage of all twelve jobs, they come back spread, not in one burst, and all of them do."""
    ends_at = time.monotonic() + 1.5

    def answer(job_id, number):
        return reply(503) if time.monotonic() < ends_at else end() if number > 40 else sample()

    jobs = [f"job-{n}" for n in range(12)]
    with FaultyServer(answer) as server, clients(server) as client:
        sampler = mops.Sampler(client, store, interval_s=0.2)
        sampler.start(jobs)
        until = time.monotonic() + 15
        while any(row.status is None for row in sampler.outcomes()) and time.monotonic() < until:
            time.sleep(0.05)
        sampler.stop()
        assert all(row.status is not None for row in sampler.outcomes())
        back = sorted(min(r.at for r in server.of(job) if r.at >= ends_at) for job in jobs)
    assert max(sum(at <= other < at + 0.02 for other in back) for at in back) <= 6


# ---------------------------------------------------------------- `mops watch` in a process of its own


STARTED = []


@pytest.fixture(autouse=True)
def _leave_no_process():
    yield
    for process in STARTED:
        if not process.stdout.closed:
            process.kill()
            process.communicate()
    STARTED.clear()


def command(*arguments, **options):
    """A process of `mops`; its environment holds no credential."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("MERCHANTOPS_")}
    environment = kept | {"MERCHANTOPS_API_URL": options.pop("url", "http://127.0.0.1:9")} | options.pop("env", {})
    script = options.pop("script", "from mops_analysis.cli import main; sys.exit(main())")
    process = subprocess.Popen(
        [sys.executable, "-c", f"import sys\n{script}", *arguments],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **options,
    )
    STARTED.append(process)
    return process


def ended(process, timeout=30):
    """Exit code, the objects on stdout, and stderr, which never shows a traceback."""
    out, err = process.communicate(timeout=timeout)
    assert "Traceback" not in err, err
    return process.returncode, [json.loads(line) for line in out.splitlines()], err


def wait_for(condition, timeout_s=20):
    until = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.01)


def test_deadlines_of_a_fifth_of_a_second(tmp_path):
    """`--deadline` and `--read-timeout` down to 0.2 s hold against trickles, a flood of 100 Continue, and silence."""
    script = {
        "trickled body": trickle(b" " * 500, first=head(length=500)),
        "trickled headers": trickle(head(200, "X: " + "y" * 500)),
        "flood": flood(head(100), every_s=0.01),
        "silence": hang(),
    }
    with FaultyServer(script) as server:
        options = ("--interval", "0.2", "--timeout", "2", "--store")
        runs = {
            "deadline": command(
                "watch", *script, *options, "deadline", "--deadline", "0.2", url=server.url, cwd=tmp_path
            ),
            "read": command(
                "watch", "silence", *options, "read", "--read-timeout", "0.2", url=server.url, cwd=tmp_path
            ),
        }
        assert {ended(process)[0] for process in runs.values()} == {7}
    for name, jobs in (("deadline", set(script)), ("read", {"silence"})):
        with SampleStore(tmp_path / name) as store:
            polls = store.read_polls()
        assert set(polls["job_id"]) == jobs
        assert set(polls["outcome"]) == {"timeout"}
        assert polls["latency_s"].between(0.19, 1.2).all()


STUCK = {
    "between polls": (sample(), ("--interval", "60"), "ok"),
    "in a hang": (hang(), (), None),
    "in a trickle": (trickle(b" " * 5000, first=head(length=5000)), (), None),
    "waiting 30 s as told": (reply(429, b"", "Retry-After: 30"), (), "rate_limited"),
}


def test_a_signal_ends_a_watch_in_any_state(tmp_path):
    """In any state: out within a second, exit code 130, what was seen is printed, the store is whole."""
    with FaultyServer() as plain, black_hole() as nowhere, contextlib.ExitStack() as stack:
        runs = {}
        for name, (behaviour, options, _) in STUCK.items():
            server = stack.enter_context(FaultyServer({"job-1": behaviour}))
            runs[name] = (server, command("watch", "job-1", *options, "--store", name, url=server.url, cwd=tmp_path))
        runs["while it connects"] = (None, command("watch", "job-1", "--store", "c.db", url=nowhere, cwd=tmp_path))
        with SampleStore(tmp_path / "held.db"):
            pass
        other = stack.enter_context(contextlib.closing(sqlite3.connect(tmp_path / "held.db", isolation_level=None)))
        arguments = ("watch", "job-1", "--interval", "0.2", "--store", "held.db")
        runs["while it writes"] = (plain, command(*arguments, url=plain.url, cwd=tmp_path))
        wait_for(lambda: all(server is None or server.requests for server, _ in runs.values()))
        wait_for(lambda: (tmp_path / "c.db-wal").exists())
        time.sleep(0.5)
        other.execute("BEGIN IMMEDIATE")
        time.sleep(0.5)
        begun = time.monotonic()
        for number, (_, process) in enumerate(runs.values()):
            process.send_signal((signal.SIGINT, signal.SIGTERM)[number % 2])
        for name, (_, process) in runs.items():
            code, [seen], _ = ended(process)
            assert (code, seen["outcome"]) == (130, "stopped"), name
        assert time.monotonic() - begun < 3  # a second, and what six of them take to leave Python on a busy machine
    for name, (_, _, outcome) in STUCK.items():
        with SampleStore(tmp_path / name) as store:
            store.check()
            assert store.read_polls()["outcome"].tolist() == ([outcome] if outcome else []), name


def test_a_stopped_process_makes_up_for_one_poll_at_most(tmp_path):
    """SIGSTOP for 2 s, then SIGCONT: at most one poll per job is made up for, the cadence is as before, times rise."""
    jobs = ["job-1", "job-2", "job-3"]
    with FaultyServer() as server:
        process = command("watch", *jobs, "--interval", "0.4", url=server.url, cwd=tmp_path)
        wait_for(lambda: len(server.requests) >= 6)
        process.send_signal(signal.SIGSTOP)
        time.sleep(0.1)
        stopped_at = time.monotonic()
        time.sleep(2)
        process.send_signal(signal.SIGCONT)
        continued_at = time.monotonic()
        time.sleep(1.6)
        process.send_signal(signal.SIGINT)
        assert ended(process)[0] == 130
        for job in jobs:
            times = [request.at for request in server.of(job)]
            assert not [at for at in times if stopped_at < at < continued_at]
            after = [at for at in times if at >= continued_at]
            assert sum(at < continued_at + 0.35 for at in after) <= 2  # the one made up for, and a due one
            assert 3 <= len(after) <= 6
    with SampleStore(tmp_path / "samples.db") as store:
        for job in jobs:
            assert store.read_polls(job)["sampled_at"].is_monotonic_increasing


STEPPED = """
import os, time
import mops_analysis as mops
from mops_analysis.cli import main
mops.Sampler, mops.SampleStore  # imported before the clock is set
real = time.time_ns
first = {first}
def stepped():
    return real() + first * 10**9 + ({step} * 10**9 if os.path.exists("clock-was-set") else 0)
time.time_ns = stepped
time.time = lambda: stepped() / 1e9
sys.exit(main())
"""


def test_steps_of_the_wall_clock_change_nothing(tmp_path):
    """The clock is put back by an hour, forward by a day, or summer time ends: cadence and times go on evenly."""
    end_of_summer = datetime(2026, 10, 25, 1, tzinfo=UTC).timestamp()
    steps = {"back": (0, -3600), "forward": (0, 86400), "winter": (f"int({end_of_summer} - time.time()) - 2", 0)}
    with FaultyServer() as server:
        runs = {}
        for job, (first, step) in steps.items():
            script = STEPPED.format(first=first, step=step)
            arguments = ("watch", job, "--interval", "0.2", "--timeout", "20", "--store", job)
            zone = {"TZ": "CET-1CEST,M3.5.0,M10.5.0/3"}
            runs[job] = command(*arguments, url=server.url, cwd=tmp_path, script=script, env=zone)
        wait_for(lambda: all(len(server.of(job)) >= 4 for job in runs))
        (tmp_path / "clock-was-set").touch()
        time.sleep(1.5)
        for job, process in runs.items():
            process.send_signal(signal.SIGINT)
            assert ended(process)[0] == 130
            with SampleStore(tmp_path / job) as store:
                times = store.read_polls()["sampled_at"]
            assert len(times) >= 8
            assert times.diff().dropna().dt.total_seconds().between(0.01, 1.0).all()
            assert longest_gap(server, job) < 1.0
        assert times.iloc[0] < pd.Timestamp(end_of_summer, unit="s", tz="UTC") < times.iloc[-1]


def test_times_rise_from_watch_to_watch_though_the_clock_was_put_back(tmp_path):
    """A second watch, on a clock that was put back by an hour since: its times come after the first one's, evenly."""
    with FaultyServer() as server:
        for first in (0, -3600):
            script = STEPPED.format(first=first, step=0)
            arguments = ("watch", "job-1", "--interval", "0.2", "--timeout", "1")
            assert ended(command(*arguments, url=server.url, cwd=tmp_path, script=script))[0] == 7
    with SampleStore(tmp_path / "samples.db") as store:
        steps = store.read_polls()["sampled_at"].diff().dropna().dt.total_seconds()
    assert len(steps) >= 6
    assert steps.between(0.05, 3.0).all()
    assert steps.median() == pytest.approx(0.2, abs=0.1)


# ---------------------------------------------------------------- the store, end to end


@pytest.mark.parametrize("name", ["q?mode=memory.db", "a#b.db", "50%41.db", "file:x.db"])
def test_odd_paths_are_just_files(tmp_path, monkeypatch, name):
    """Whatever the store's name, it is a file of that name, and the polls are in it."""
    monkeypatch.chdir(tmp_path)
    with FaultyServer({"job-1": [sample(), end()]}) as server, clients(server) as client, SampleStore(name) as store:
        mops.Sampler(client, store, interval_s=0.05).watch("job-1", progress=False, timeout_s=20)
    assert [path.name for path in tmp_path.iterdir()] == [name]
    with SampleStore(tmp_path / name) as store:
        assert len(store.read_samples()) == 2


def test_a_reader_with_a_long_transaction_disturbs_no_watch(store):
    """While another program reads in one transaction for two seconds, every poll is stored in its time."""
    with FaultyServer({"job-1": HEALTHY}) as server, clients(server) as client:
        sampler = mops.Sampler(client, store, interval_s=0.3)
        sampler.start("job-1")
        wait_for(lambda: server.requests)
        with contextlib.closing(sqlite3.connect(store.path, isolation_level=None)) as reader:
            reader.execute("BEGIN")
            seen = reader.execute("SELECT count(*) FROM polls").fetchone()
            assert sampler.wait(10)
            assert reader.execute("SELECT count(*) FROM polls").fetchone() == seen
        check_healthy(sampler.outcomes(), store, server)
        sampler.stop()


@contextlib.contextmanager
def small_disk(folder, size="300k"):
    """A disk of its own, very small; the test is skipped where none may be mounted."""
    folder.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", folder], capture_output=True).returncode:
        pytest.skip("only root may mount a disk")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


def test_a_full_disk_ends_the_watch_and_loses_nothing(tmp_path):
    """The disk fills up: exit code 8, one clear line, every poll before it is kept; with space again it goes on."""
    with small_disk(tmp_path / "disk") as disk, FaultyServer() as server:
        (disk / "ballast").write_bytes(bytes(120_000))
        arguments = ("watch", "job-1", "--interval", "0.02", "--store", str(disk / "samples.db"))
        code, [seen], err = ended(command(*arguments, url=server.url, cwd=tmp_path))
        assert code == 8
        assert "free some disk space" in err
        requests = len(server.requests)
        with SampleStore(disk / "samples.db") as store:
            store.check()
            kept = len(store.read_polls())
        assert kept == seen["polls"] >= requests - 1 >= 5
        (disk / "ballast").unlink()
        code, _, _ = ended(command(*arguments, "--timeout", "0.5", url=server.url, cwd=tmp_path))
        assert code == 7
        with SampleStore(disk / "samples.db") as store:
            assert len(store.read_polls()) > kept


def test_a_file_that_may_not_grow_ends_the_watch(tmp_path):
    """The same under a limit on the size of files, which needs no disk of its own."""

    def limit():
        resource.setrlimit(resource.RLIMIT_FSIZE, (150_000, 150_000))

    with FaultyServer() as server:
        arguments = ("watch", "job-1", "--interval", "0.02", "--timeout", "20")
        code, [seen], err = ended(command(*arguments, url=server.url, cwd=tmp_path, preexec_fn=limit))
        assert code == 8
        assert "all it had is still there" in err
        with SampleStore(tmp_path / "samples.db") as store:
            store.check()
            assert len(store.read_polls()) == seen["polls"] >= len(server.requests) - 1 >= 5


def test_an_unusable_store_is_refused_before_anything_is_sent(tmp_path):
    """Read-only, damaged, cut, foreign, newer, not even a file: exit code 8, no request, not one byte changed."""
    with SampleStore(tmp_path / "sound.db") as store:
        polls = [mops.schema.Poll(f"job-{n}", n, 0.1, "timeout", None, "no reply") for n in range(300)]
        store.append(*polls)
    sound = (tmp_path / "sound.db").read_bytes()
    with contextlib.closing(sqlite3.connect(tmp_path / "foreign.db")) as connection:
        connection.execute("CREATE TABLE t (x)")
    spoilt = {
        "damaged.db": sound[:4096] + bytes(4096) + sound[8192:],
        "cut.db": sound[: len(sound) // 2],
        "newer.db": sound[:60] + b"\0\0\0\x63" + sound[64:],
        "foreign.db": (tmp_path / "foreign.db").read_bytes(),
        "text.db": b"job_id,status\n" * 50,
    }
    for name, data in spoilt.items():
        (tmp_path / name).write_bytes(data)
    with FaultyServer() as server:
        names = [*spoilt, ".", "nowhere/samples.db"]
        runs = {name: command("watch", "a", "--store", name, url=server.url, cwd=tmp_path) for name in names}
        for name, process in runs.items():
            code, seen, err = ended(process)
            assert (code, seen) == (8, []), name
            assert err.count("\n") == 1, err
        assert server.connections == 0
    assert {name: (tmp_path / name).read_bytes() for name in spoilt} == spoilt


def test_a_read_only_store_is_refused_before_anything_is_sent(tmp_path):
    """A store on a disk that may only be read: exit code 8, no request, not one byte changed; it can be read."""
    with small_disk(tmp_path / "disk") as disk, FaultyServer() as server:
        path = disk / "samples.db"
        with SampleStore(path) as store:
            store.append(*(mops.schema.Poll("a", n, 0.1, "timeout") for n in range(8)))
        before = path.read_bytes()
        subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
        code, _, err = ended(command("watch", "a", "--store", str(path), url=server.url, cwd=tmp_path))
        assert code == 8
        assert "may be written" in err
        assert (server.connections, path.read_bytes()) == (0, before)
        with SampleStore(path) as store:
            assert len(store.read_polls()) == 8


def test_two_samplers_share_a_store_but_not_a_job(tmp_path):
    """Four processes with a job each write 80 polls to one store without a lock error; a job twice is refused."""
    jobs = {f"job-{n}": [*[sample(processed_items=m) for m in range(19)], end()] for n in range(4)}
    with FaultyServer(jobs | {"slow": sample()}) as server:
        slow = command("watch", "slow", url=server.url, cwd=tmp_path)
        wait_for(lambda: server.of("slow"))
        runs = [command("watch", job, "--interval", "0.05", url=server.url, cwd=tmp_path) for job in jobs]
        code, _, err = ended(command("watch", "slow", url=server.url, cwd=tmp_path))
        assert code == 8
        assert f"by process {slow.pid} already" in err
        assert [ended(process)[0] for process in runs] == [0, 0, 0, 0]
        slow.kill()
        slow.communicate()
        done = ended(command("watch", "slow", "--timeout", "0.5", "--interval", "0.1", url=server.url, cwd=tmp_path))
        assert done[0] == 7  # the note of the killed one holds nobody up
    with SampleStore(tmp_path / "samples.db") as store:
        assert [len(store.read_samples(job)) for job in jobs] == [20] * 4


def test_store_commands(tmp_path):
    """`mops store` checks and copies: counts, times and path are printed; damage and an existing copy exit with 8."""
    path = tmp_path / "samples.db"
    path.write_bytes((Path(__file__).parent / "data" / "store-version-1.db").read_bytes())

    def run(*arguments):
        process = command("store", *arguments, cwd=tmp_path)
        out, err = process.communicate(timeout=30)
        assert "Traceback" not in err
        return process.returncode, out, err

    code, out, _ = run("check", "samples.db")
    assert code == 0
    assert out.splitlines() == [
        "samples.db: sound; 8 polls, 6 samples, 2 jobs",
        "from 2025-11-18 14:00:00 UTC to 2025-11-18 14:00:13 UTC",
    ]
    assert run("backup", "samples.db", "copy.db") == (0, f"{tmp_path / 'copy.db'}\n", "")
    assert len(mops.read_samples(tmp_path / "copy.db")) == 6
    code, _, err = run("backup", "samples.db", "copy.db")
    assert (code, "exists already" in err) == (8, True)
    assert run("check", "missing.db")[0] == 8
    assert not (tmp_path / "missing.db").exists()
    path.write_bytes(path.read_bytes()[:9000])
    assert run("check", "samples.db")[0] == 8


# ---------------------------------------------------------------- in a notebook

CELL = """
import mops_analysis as mops
client = mops.JobStatusClient(base_url={url!r})
store = mops.SampleStore({path!r})
sampler = mops.Sampler(client, store, interval_s=0.1)
sampler.{act}
"""


def test_an_interrupted_and_rerun_cell_leaves_one_sampler(tmp_path, monkeypatch):
    """A kernel interrupt ends a watch; a cell that is run again takes its job over: one sampler polls, not two."""
    from jupyter_client.manager import start_new_kernel

    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", str(tmp_path / "runtime"))
    with FaultyServer() as server:
        manager, kernel = start_new_kernel(kernel_name="python3")
        try:
            path = str(tmp_path / "samples.db")
            blocking = CELL.format(url=server.url, path=path, act="watch('job-1', progress=False)")
            message = kernel.execute(blocking)
            wait_for(lambda: len(server.requests) >= 3)
            begun = time.monotonic()
            manager.interrupt_kernel()
            while (reply_of_cell := kernel.get_shell_msg(timeout=10))["parent_header"]["msg_id"] != message:
                pass
            assert reply_of_cell["content"]["ename"] == "KeyboardInterrupt"
            assert time.monotonic() - begun < 2
            requests = len(server.requests)
            time.sleep(0.4)
            assert len(server.requests) == requests
            background = CELL.format(url=server.url, path=path, act="start('job-1')")
            for _ in range(3):
                done = kernel.execute_interactive(background, timeout=20, output_hook=lambda _: None)
                assert done["content"]["status"] == "ok"
            time.sleep(0.2)
            requests = len(server.requests)
            time.sleep(1)
            assert 5 <= len(server.requests) - requests <= 12
            count = "import threading; n = sum(t.name == 'mops-sampler' for t in threading.enumerate())"
            answer = kernel.execute_interactive(
                count, user_expressions={"n": "n"}, timeout=20, output_hook=lambda _: None
            )
            assert answer["content"]["user_expressions"]["n"]["data"]["text/plain"] in ("1", "2")
        finally:
            kernel.stop_channels()
            manager.shutdown_kernel(now=True)


def test_stopping_one_sampler_leaves_another_of_the_same_client_alone(tmp_path):
    """Two samplers share a client and each waits for a reply: the first is stopped, the other gets its sample."""
    with (
        FaultyServer({"stuck": hang(), "slow": [sample(after_s=1.5), sample()]}) as server,
        mops.JobStatusClient(base_url=server.url) as client,
        mops.SampleStore(tmp_path / "stuck.db") as stuck,
        mops.SampleStore(tmp_path / "slow.db") as slow,
        mops.Sampler(client, slow, 0.1) as going_on,
        mops.Sampler(client, stuck, 0.1) as stopped,
    ):
        stopped.start("stuck")
        going_on.start("slow")
        wait_for(lambda: len(server.requests) == 2)
        stopped.stop()
        wait_for(lambda: len(slow.read_polls()) >= 1)
        assert set(slow.read_polls()["outcome"]) == {"ok"}
        assert len(stuck.read_polls()) == 0


# ---------------------------------------------------------------- figures


@pytest.mark.parametrize("figures", ["kills", "long_run", "trickles"])
def test_the_figures_hold(tmp_path, monkeypatch, figures):
    """A small run of the benchmark: kills lose nothing, memory and descriptors do not grow, trickles end in time."""
    monkeypatch.syspath_prepend(Path(__file__).parent.parent / "benchmarks")
    import reliability

    for name, figure, goal, is_kept in getattr(reliability, figures)(tmp_path, small=True):
        assert is_kept, f"{name}: {figure}, goal {goal}"
