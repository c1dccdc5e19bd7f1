"""The tables of whole jobs once more, in slow and obvious loops: what the metrics of one row per job must equal.

Nothing here is taken from the package but the words of its own docstrings; `reference` has one job's samples as lists.
"""

from __future__ import annotations

import math
from collections import defaultdict
from fractions import Fraction
from itertools import pairwise

import pandas as pd
import reference
from reference import IDLE, TERMINAL, Job

FINISHED = {"completed", "completed_with_warnings", "partial_success"}
WELL = {"completed", "completed_with_warnings"}
KNOWN = IDLE | {"pending", "in_progress"}
Z95, Z99 = 1.959963984540054, 2.5758293035489004
NAT = pd.NaT

# -- counting ----------------------------------------------------------------------------------------------------------

#: Whether each kind of evidence speaks for "processed includes the failed ones"; the last is the weak one.
INCLUSIVE = (False, True, True, False, False, True)


def fits(percentage: float, items: int, total: int) -> bool:
    """Whether a percentage may be items of total, rounded to its last decimal, to the nearest or down."""
    tenths = 10 * percentage
    unit = (
        Fraction(1)
        if percentage == round(percentage)
        else Fraction(1, 10 if abs(tenths - round(tenths)) < 1e-9 else 100)
    )
    ahead, bit = Fraction(percentage) - Fraction(100 * items, total), Fraction(1, 10**9)
    return bit - unit < ahead <= unit / 2 + bit


def evidence(rows: pd.DataFrame) -> set[int]:
    """The kinds of evidence that a job has."""
    samples = list(rows.itertuples(index=False))
    found, fell, votes = set(), False, [0, 0]
    for i, at in enumerate(samples):
        fell |= i > 0 and at.processed_items < samples[i - 1].processed_items
        processed, failed, total = at.processed_items, at.failed_items, at.total_items
        if failed <= 0:
            continue
        if i == len(samples) - 1 and at.status in FINISHED and total > 0:
            found |= {0} if processed + failed == total else set()
            found |= {1} if processed == total else set()
        stood = i > 0 and samples[i - 1].total_items == total
        if processed + failed > total >= processed and total == samples[-1].total_items and total > 0:
            found |= {2} if stood or at.status in TERMINAL else set()
        if failed > processed and not fell:
            found.add(3)
        if 0 < processed + failed <= total:
            both, alone = (fits(at.progress_percentage, items, total) for items in (processed + failed, processed))
            votes[0] += both and not alone
            votes[1] += alone and not both
    found |= {4} if votes[0] > votes[1] else set()
    return found | ({5} if votes[1] > votes[0] else set())


def counting(samples: pd.DataFrame) -> dict[str, tuple[bool, bool]]:
    """Of each job the rule, and whether it is decided."""
    found = {job_id: evidence(rows) for job_id, rows in samples.groupby("job_id")}
    own = {job_id: min(kinds - {5}) for job_id, kinds in found.items() if kinds - {5}}
    inclusive = sum(INCLUSIVE[kind] for kind in own.values())
    disjoint = len(own) - inclusive
    rules = {}
    for job_id, rows in samples.groupby("job_id"):
        if job_id in own:
            rules[job_id] = INCLUSIVE[own[job_id]], True
        elif not (rows["failed_items"] > 0).any():
            rules[job_id] = inclusive > disjoint, False
        elif inclusive != disjoint:
            rules[job_id] = inclusive > disjoint, True
        else:
            rules[job_id] = 5 in found[job_id], 5 in found[job_id]
    return rules


# -- anomalies ---------------------------------------------------------------------------------------------------------


def anomalies(rows: pd.DataFrame, rule: bool, window_s: float = 120) -> list[tuple[int, str]]:
    """Time and kind of each event of a job, sorted."""
    job, samples = Job(rows, rule), list(rows.itertuples(index=False))
    counters = [(at.processed_items, at.total_items, at.failed_items) for at in samples]
    found = []
    for i in range(1, job.n):
        before, now = counters[i - 1], counters[i]
        if now[0] < before[0] or now[2] < before[2]:
            found.append((i, "counter_reset"))
        if now[1] != before[1]:
            found.append((i, "total_changed"))
        if job.is_gap[i] and job.status[i - 1] not in IDLE:
            found.append((i, "gap"))
    found += [(i, "stalled") for i in _stalls(job, counters)]
    found += [(i, "failure_burst") for i in _bursts(job, window_s)]
    found += [(i, "inconsistent_counts") for i in _contradictions(job, samples)]
    unknown = {word: i for i, word in reversed(list(enumerate(job.status))) if word not in KNOWN}
    found += [(i, "unknown_status") for i in unknown.values()]
    return [(job.t[i], kind) for i, kind in sorted(found)]


def _stalls(job: Job, counters: list[tuple[int, ...]]) -> list[int]:
    running = [job.up_to(i, job.step, job.runs) for i in range(job.n)]
    moves = [i for i in range(1, job.n) if counters[i] != counters[i - 1]]
    between = sorted(running[after] - running[before] for before, after in pairwise(moves))
    limit = max(10 * (median(between) if len(between) >= 2 else 30e9), 60e9)
    found, since, told = [], 0, False
    for i in range(job.n):
        if i in moves:
            since, told = i, False
        if running[i] - running[since] > limit and job.status[i] not in IDLE | {"pending"} and not told:
            found.append(i)
            told = True
    return found


def _bursts(job: Job, window_s: float) -> list[int]:
    inside, whole = reference.counts(job, window_s), reference.counts(job, None)
    found, newest = [], None
    for i in range(job.n):
        failed, finished = inside[i]
        if job.fail[i] == 0 or failed < 5:
            continue
        _, low, _ = reference.wilson(failed, finished, Z99)
        _, _, high = reference.wilson(whole[i][0] - failed, whole[i][1] - finished, Z99)
        if low > high:
            if newest is None or job.t[i] - job.t[newest] > window_s * 1e9:
                found.append(i)
            newest = i
    return found


def _contradictions(job: Job, samples: list) -> list[int]:
    first: dict[int, int] = {}
    for i, at in enumerate(samples):
        processed, failed, total, percentage = (
            at.processed_items,
            at.failed_items,
            at.total_items,
            at.progress_percentage,
        )
        share = 100.0 / max(total, 1)
        is_outside = not 0 <= percentage <= 100
        off = [abs(percentage - min(max(items * share, 0), 100)) > 1 for items in (processed, processed + failed)]
        contradictions = [
            min(processed, failed, total) < 0,
            0 < total < failed,
            0 < total < job.served[i] and failed <= total,
            failed > job.served[i] and failed > 0,
            is_outside,
            total > 0 and not is_outside and all(off),
        ]
        for kind, holds in enumerate(contradictions):
            if holds:
                first.setdefault(kind, i)
    return list(first.values())


# -- one row per job ---------------------------------------------------------------------------------------------------


def summary(rows: pd.DataFrame, rule: bool, now_ns: int | None = None) -> dict[str, object]:
    """What `summary` says of a job, but for its forecast."""
    job = Job(rows, rule)
    last, times = job.n - 1, rows["sampled_at"].tolist()
    started = next((i for i in range(job.n) if job.status[i] in IDLE | {"in_progress"} or job.served[i] > 0), None)
    ended = None
    if job.status[last] in TERMINAL:
        ended = last
        while ended > 0 and job.status[ended - 1] in TERMINAL:
            ended -= 1
    until = max(job.t[last], now_ns or 0) if ended is None else job.t[ended]
    total = int(rows["total_items"].iloc[last])
    running = job.up_to(last, job.step, job.runs)
    failed, finished = reference.counts(job, None)[last]
    rate, low, high = reference.wilson(failed, finished, Z95)
    share = min(max(job.served[last] / total, 0), 1) if total > 0 else 1.0 if job.status[last] in WELL else math.nan
    return {
        "status": job.status[last],
        "terminal": job.status[last] in TERMINAL,
        "first_sampled_at": times[0],
        "last_sampled_at": times[last],
        "started_after": times[started - 1] if started else NAT,
        "started_before": NAT if started is None else times[started],
        "ended_after": times[ended - 1] if ended else NAT,
        "ended_before": NAT if ended is None else times[ended],
        "elapsed_s": math.nan if started is None or ended == 0 else (until - job.t[started]) / 1e9,
        "samples": job.n,
        "total_items": total,
        "finished_items": job.served[last],
        "failed_items": job.failed_served[last],
        "share_done": share,
        "mean_items_per_s": job.up_to(last, job.rise, job.runs) * 1e9 / running if running else math.nan,
        "last_items_per_s": reference.throughput(job, 120)[last][2],
        "failure_rate": rate,
        "failure_rate_low": low,
        "failure_rate_high": high,
        "anomalies": len(anomalies(rows, rule)),
    }


# -- jobs against jobs -------------------------------------------------------------------------------------------------


def median(values: list[float]) -> float:
    """The middle one, or half-way between the two."""
    return quantile(values, 0.5)


def quantile(values: list[float], share: float) -> float:
    """Straight between the sorted values; NaN of none."""
    ordered = sorted(values)
    if not ordered:
        return math.nan
    place = share * (len(ordered) - 1)
    left = math.floor(place)
    right = min(left + 1, len(ordered) - 1)
    return ordered[left] + (place - left) * (ordered[right] - ordered[left])


def comparison(samples: pd.DataFrame, rules: dict[str, bool]) -> list[dict[str, object]]:
    """Each job against those that began before it."""
    jobs = []
    for job_id, rows in samples.groupby("job_id"):
        said = summary(rows, rules[job_id])
        seen = rows["progress_percentage"].iloc[0] <= 5
        said["elapsed_s"] = said["elapsed_s"] if seen and said["terminal"] else math.nan
        label = rows["label"].iloc[0] if "label" in rows else None
        jobs.append({"job_id": job_id, "label": label, "counts": seen and said["status"] in FINISHED, **said})
    table = []
    for job in jobs:
        before = [each for each in jobs if each["counts"] and each["first_sampled_at"] < job["first_sampled_at"]]
        same = [each for each in before if each["label"] is not None and each["label"] == job["label"]]
        earlier = sorted(same if len(same) >= 5 else before, key=lambda each: each["first_sampled_at"])[-30:]
        for measure in ("elapsed_s", "mean_items_per_s", "failure_rate"):
            known = [each[measure] for each in earlier if not math.isnan(each[measure])]
            low, middle, high = (quantile(known, share) for share in (0.1, 0.5, 0.9))
            value = job[measure]
            table.append(
                {
                    "job_id": job["job_id"],
                    "measure": measure,
                    "value": value,
                    "jobs_before": len(known),
                    "same_label": len(same) >= 5,
                    "median": middle,
                    "low": low,
                    "high": high,
                    "change": value / middle - 1 if middle > 0 else math.nan,
                    "unusual": len(known) >= 5 and (value < low or value > high),
                }
            )
    return table


def week_on_week(samples: pd.DataFrame, rules: dict[str, bool]) -> list[dict[str, float]]:
    """Weeks of UTC against the same days of the week before; days and weeks by number since the epoch."""
    finished, failed = defaultdict(float), defaultdict(float)
    for job_id, rows in samples.groupby("job_id"):
        job = Job(rows, rules[job_id])
        for totals, rises in ((finished, job.rise), (failed, job.fail)):
            for day, items in reference.periods(job, 86_400, rises).items():
                totals[day] += items
    weeks = defaultdict(list)
    for day in sorted(finished):
        weeks[(day + 3) // 7].append(day)  # the epoch was a Thursday
    table = []
    for week, days in sorted(weeks.items()):
        both = [day for day in days if day - 7 in finished]
        base = sum(finished[day - 7] for day in both)
        done = sum(finished[day] for day in days)
        bad = sum(failed[day] for day in days)
        table.append(
            {
                "week_start": pd.Timestamp(week * 7 - 3, unit="D", tz="UTC"),
                "days": len(days),
                "finished_items": done,
                "failed_items": bad,
                "failure_rate": bad / done if done > 0 else math.nan,
                "change": sum(finished[day] for day in both) / base - 1 if base > 0 else math.nan,
            }
        )
    return table


def fleet(
    samples: pd.DataFrame, rules: dict[str, bool], *, window_s: float = 120, late_s: float = 1800
) -> dict[str, object]:
    """All jobs in one row as of the newest sample, but for the forecasts."""
    now = samples["sampled_at"].max()
    groups = dict(iter(samples.groupby("job_id")))
    jobs = {job_id: summary(rows, rules[job_id]) for job_id, rows in groups.items()}
    newest, shares = {}, {}
    failed = finished = 0.0
    for job_id, rows in groups.items():
        job = Job(rows, rules[job_id])
        if job.status[-1] == "in_progress":
            rates = [rate for _, _, rate in reference.throughput(job, window_s)]
            usual = median([rate for rate in rates if not math.isnan(rate)])
            if not math.isnan(rates[-1]):
                newest[job_id] = rates[-1]
                if usual > 0:
                    shares[job_id] = rates[-1] / usual
        axis, edge = [t - job.t[0] for t in job.t], now.value - late_s * 1e9 - job.t[0]
        if edge < axis[-1]:
            for rises, add in ((job.fail, "failed"), (job.rise, "finished")):
                so_far = [job.up_to(i, rises) for i in range(job.n)]
                rise = so_far[-1] - reference.value_at(axis, so_far, edge)
                failed, finished = (failed + rise, finished) if add == "failed" else (failed, finished + rise)
    usual_rates = [
        job["failure_rate"] for job in jobs.values() if job["terminal"] and not math.isnan(job["failure_rate"])
    ]
    usual = median(usual_rates) if len(usual_rates) >= 5 else math.nan
    rate, low, high = reference.wilson(failed, finished, Z95)
    today = [job["status"] for job in jobs.values() if job["terminal"] and job["ended_before"].date() == now.date()]
    slowest = min(shares, key=lambda job_id: (shares[job_id], job_id)) if shares else None
    return {
        "running": sum(job["status"] == "in_progress" for job in jobs.values()),
        "pending": sum(job["status"] == "pending" for job in jobs.values()),
        "items_per_s": sum(newest.values()) if newest else math.nan,
        "failure_rate": rate,
        "failure_rate_low": low,
        "failure_rate_high": high,
        "failure_rate_usual": usual,
        "failures_per_usual": rate / usual if usual > 0 else math.nan,
        "ended_today": len(today),
        "ended_well_today": sum(status in WELL for status in today),
        "ended_partly_today": sum(status == "partial_success" for status in today),
        "ended_badly_today": sum(status not in FINISHED for status in today),
        "slowest_job_id": slowest,
        "slowest_share": shares[slowest] if slowest else math.nan,
        "slowest_items_per_s": newest[slowest] if slowest else math.nan,
    }
