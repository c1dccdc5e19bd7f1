"""The forecast and its record once more, in slow loops: any counting rule, jobs without a total, lessons of a label.

What one job's pace foretells is `benchmarks/plain_eta.py`; here is what leads to it and from it.
"""

from __future__ import annotations

import bisect
import heapq
import math
import sys
from importlib.resources import files
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from reference import TERMINAL
from reference_tables import FINISHED, fits, median

sys.path.insert(0, str(Path(__file__).parent.parent))  # the plain forms of the benchmarks are no part of the package

from benchmarks.plain_eta import Forecast, Outlook

WAITING = TERMINAL | {"pending", "awaiting_review"}
SHARES = (0.1, 0.25, 0.5, 0.75, 0.9)


class Seen(NamedTuple):
    """One running sample: its number in the job, running time, counter, its goal, and what the goal grew by."""

    at: int
    clock: float
    work: int
    size: int
    rise: int
    resize: int
    known: bool
    is_new: bool  # counts in another unit than before: the job starts anew


def seen(rows: pd.DataFrame, rule: bool | str) -> list[Seen]:
    """The running samples of a job, by one honest counter."""
    found: list[Seen] = []
    samples = list(rows.itertuples(index=False))
    clock, votes, percent_seen, risen = 0, [0, 0], False, 0
    before: dict[str, object] = {}
    for i, at in enumerate(samples):
        if i > 0 and samples[i - 1].status not in WAITING:
            clock += at.sampled_at.value - samples[i - 1].sampled_at.value
        if at.total_items > 0 and at.processed_items + at.failed_items <= at.total_items:
            both, alone = (
                fits(at.progress_percentage, items, at.total_items)
                for items in (at.processed_items + at.failed_items, at.processed_items)
            )
            votes[0] += both and not alone
            votes[1] += alone and not both
        if at.status != "in_progress":
            continue
        inclusive = votes[1] > votes[0] if rule == "auto" else rule
        percent = round(min(max(at.progress_percentage, 0), 100) * 1_000_000)
        percent_seen |= percent > 0
        is_percent = at.total_items == 0 and (percent_seen or at.processed_items == 0)
        unit = "percent" if is_percent else "inclusive" if inclusive else "disjoint"
        counters = {
            "percent": percent,
            "inclusive": at.processed_items,
            "disjoint": at.processed_items + at.failed_items,
        }
        work = counters[unit]
        size = 100_000_000 if is_percent else max(at.total_items, work)
        known = is_percent or at.total_items > 0
        rise, resize, is_new = 0, 0, not found
        if found:
            rise = max(work - before["counters"][unit], 0)
            is_new = is_percent != before["is_percent"] and risen > 0
            if known and found[-1].known and is_percent == before["is_percent"] and not is_new:
                resize = size - found[-1].size
        risen += rise
        found.append(Seen(i, clock, work, size, 0 if is_new else rise, resize, known, is_new))
        before = {"counters": counters, "is_percent": is_percent}
    return found


class Part(Forecast):
    """The running samples of a job that count in one unit."""

    def __init__(self, samples: list[Seen]) -> None:
        self.samples = samples
        self.at = [each.at for each in samples]
        self.t = [(each.clock - samples[0].clock) / 1e9 for each in samples]
        self.size = [each.size for each in samples]
        self.left = [each.size - each.work for each in samples]
        self.u = np.cumsum([each.rise for each in samples])
        self.grown = np.cumsum([each.resize for each in samples]).tolist()
        self.changed = np.cumsum([each.resize != 0 for each in samples]) > 0
        self.find_events()

    def said(self) -> list[Outlook | None]:
        """What is foretold, where the goal is known."""
        return [outlook if each.known else None for outlook, each in zip(self.outlooks(), self.samples, strict=True)]


# -- the correction ----------------------------------------------------------------------------------------------------

UNIT = 2.0**-18


def network() -> dict[str, np.ndarray]:
    """The weights, as they are stored."""
    with np.load(files("mops_analysis") / "data" / "eta_network.npz") as data:
        return {name: data[name].astype(float) for name in data.files}


def rounded(values: np.ndarray) -> np.ndarray:
    """Whole multiples of the unit."""
    return np.rint(np.asarray(values) / UNIT) * UNIT


def clipped(value: float, low: float, high: float) -> float:
    """The value within bounds."""
    return min(max(value, low), high)


class Corrected(Part):
    """The same with what the small network makes of it."""

    def __init__(self, samples: list[Seen]) -> None:
        super().__init__(samples)
        self.gaps = [max(after - before, 1e-6) for before, after in pairwise(self.tau)]
        self.advances = [after - before for before, after in pairwise(self.work)]
        self.falls = [i for i in range(1, len(samples)) if samples[i].work < samples[i - 1].work]
        self.resizes = [i for i in range(1, len(samples)) if self.grown[i] != self.grown[i - 1]]

    def found(self, m: int, part: int, whole: int) -> int:
        """The newest event by which that share of the work was done."""
        return bisect.bisect_right(self.work, self.work[m] * part // whole, 0, m + 1) - 1

    def spread(self, values: list[float], m: int) -> float:
        """Standard deviation of the logarithm over the newer half of the ticks, four at least."""
        if m == 0:
            return 0.0
        newest = values[m - min(max(-(-m // 2), 4), m) : m]
        logs = [round(clipped(math.log(value / values[0]), -30, 30) * 2**16) / 2**16 for value in newest]
        return math.sqrt(max(sum(log * log for log in logs) / len(logs) - (sum(logs) / len(logs)) ** 2, 0))

    def past(self, m: int) -> list[float]:
        """How far off the pace was as a forecast: mean |e| and mean e at both origins."""
        pace, values = self.paces[0], []
        for share in (0.5, 0.8):
            proved = [(k, self.origin(k, share)) for k in range(m - -(-m // 2), m + 1)]
            errors = [clipped(pace[at] - self.pace(at, k), -8, 8) for k, at in proved if at is not None]
            errors = [round(error * 2**32) / 2**32 for error in errors]  # they are summed as integers
            n = max(len(errors), 1)
            values += [sum(map(abs, errors)) / n if errors else 0.3, sum(errors) / n]
        return values

    def grew(self, i: int, parts: int) -> float:
        """How much the total grew per work done, over the newest part of the polls."""
        before = i - -(-i // parts)
        grown, done = self.grown[i] - self.grown[before], self.u[i] - self.u[before]
        return clipped(grown / done if done > 0 else np.sign(grown), -1, 2)

    def inputs(self, i: int, ahead: float, delta: float) -> list[float]:
        """The forty inputs at a sample with ticks."""
        m, t, u, sample = self.ticks[i], self.t[i], self.u[i], self.samples[i]
        pace, tau, left = self.paces[0], self.tau[m], max(self.left[i], 0)
        ticks = min(m, 8)
        advance = (self.work[m] - self.work[m - ticks]) / ticks
        age, gap = max(t - tau, 0), math.exp(pace[m]) * advance
        starts = [0, 1 if m > 1 else 0, m - min(3, m), m - min(max(-(-m // 8), 2), m)]
        starts += [self.found(m, 1, 2), self.found(m, 9, 10)]
        middle = m - -(-m // 2)
        turned = self.pace(middle, m) - self.pace(0, middle) if m > 1 else 0.0
        share = sample.work / max(sample.size, 1)
        quarter = -(-i // 4)
        resizes, falls = ([row for row in rows if row <= i] for rows in (self.resizes, self.falls))
        start = self.samples[0].work
        again = u / max(sample.work - start, math.exp(-3) * max(u, 1))

        def log_share(value: float) -> float:
            return math.log(max(value, math.exp(-7)))

        def ago(rows: list[int]) -> float:
            return math.log((t - self.t[rows[-1]] + delta) / (t + delta)) if rows else 0.0

        return [
            *(*self.past(m), self.newest_error(pace, m)),
            *(clipped(self.pace(at, m) - pace[m], -4, 4) for at in starts),
            clipped(turned, -4, 4),
            min(self.spread(self.gaps, m), 3),
            min(self.spread(self.advances, m), 3),
            self.regularity(m),
            clipped(math.log(max(self.gaps[:m]) / max(tau, 1e-6)), -7, 0),
            *(self.grew(i, parts) for parts in (1, 2, 4, 8)),
            ago(resizes),
            math.log(1 + len(resizes)) - math.log(1 + i) if resizes else 0.0,
            min(math.log(1 + age / max(gap, 1e-6)), 6),
            clipped(math.log((age + delta) / (t + delta)), -7, 4),
            clipped(math.log((age + delta) / (ahead + delta)), -7, 4),
            share,
            log_share(share),
            min(math.log((ahead + delta) / (t + delta)), 6),
            log_share(u / max(u + left, 1)),
            math.log(1 + m),
            math.log(1 + i),
            min(math.log(1 + left / max(advance, 1e-9)), 9),
            min(math.log((ahead + delta) / delta), 9),
            m / i,
            (m - self.ticks[i - quarter]) / quarter,
            float(min(len(falls), 4)),
            ago(falls),
            math.log(max(again, 1)) if falls else 0.0,
            math.log((self.tau[1] + delta) / (t + delta)),
            log_share(start / max(sample.work, start, 1)) if start > 0 else -7.0,
        ]

    def said(self) -> list[Outlook | None]:
        """What is foretold, corrected."""
        data, outlooks = network(), super().said()
        for i, outlook in enumerate(outlooks):
            if outlook is None:
                continue
            inputs = np.array(self.inputs(i, outlook.ahead, outlook.delta))
            layer = rounded(np.clip((inputs - data["mean"]) / data["deviation"], -5, 5))
            for number in (1, 2):
                layer = rounded(np.tanh(layer @ rounded(data[f"weights{number}"]) + rounded(data[f"bias{number}"])))
            out = layer @ rounded(data["weights3"]) + rounded(data["bias3"])
            step = np.logaddexp(0, out)
            error = 0.0 if i == 1 else self.paces[1][self.ticks[i]].mean()
            doubt = 0.0 if self.grown[i] < 0 else 1.0 if self.changed[i] else error / (error + 0.02)
            ahead = max((outlook.ahead + outlook.delta) * math.exp(out[2] * doubt) - outlook.delta, 0)
            outlooks[i] = Outlook(ahead, outlook.delta, 1.2 * (step[0] + step[1]), 1.2 * (step[3] + step[4]))
        return outlooks


class Lessons:
    """What the jobs of one label have taught."""

    def __init__(self) -> None:
        self.errors: list[list[tuple[float, float]]] = [[] for _ in range(10)]
        self.widen = [0.0, 0.0]

    def shift(self, share: float) -> float:
        """By how much to correct at a share done; straight between the middles of its tenths."""
        believed = []
        for taught in self.errors:
            jobs = max(len(taught), 1)
            mean, square = (sum(each[k] for each in taught) / jobs for k in (0, 1))
            spread = max(square - mean * mean, 0) / max(mean * mean, 1e-9)
            believed.append(mean * jobs / (len(taught) + 5 + 4 * spread) if taught else 0.0)
        return float(np.interp(share, [(k + 0.5) / 10 for k in range(10)], believed))

    def add(self, told: list[tuple[float, Outlook, Outlook, float]]) -> None:
        """A job's shares done, its own outlooks, those it was given, and the true seconds left."""
        if not told:
            return
        tenths: dict[int, list[float]] = {}
        for share, own, _, truth in told:
            error = math.log((truth + own.delta) / (own.ahead + own.delta))
            tenths.setdefault(min(int(share * 10), 9), []).append(min(max(error, -2), 2))
        for tenth, errors in tenths.items():
            mean, square = (sum(error**power for error in errors) / len(errors) for power in (1, 2))
            self.errors[tenth].append((mean, square))
        below = [
            truth < (given.ahead + given.delta) * math.exp(-given.low) - 1.5 * given.delta
            for _, _, given, truth in told
        ]
        above = [
            truth > (given.ahead + given.delta) * math.exp(given.high) - 0.5 * given.delta
            for _, _, given, truth in told
        ]
        for side, missed in enumerate((below, above)):
            self.widen[side] = min(max(self.widen[side] + 0.5 * (sum(missed) / len(missed) - 0.1), -2.5), 1.5)

    def applied(self, share: float, own: Outlook) -> Outlook:
        """An outlook as the lessons have it."""
        ahead = max((own.ahead + own.delta) * math.exp(self.shift(share)) - own.delta, 0)
        low, high = own.low * math.exp(self.widen[0]), own.high * math.exp(self.widen[1])
        return Outlook(ahead, own.delta, low, high)


class Told(NamedTuple):
    """A job: its times [ns], the number of its first finished sample, its parts, and what each foretells."""

    times: list[int]
    end: int | None
    parts: list[Part]
    own: list[list[Outlook | None]]

    @property
    def begin(self) -> int:
        """Time of the first running sample [ns]."""
        return self.times[self.parts[0].samples[0].at]

    @property
    def finish(self) -> int:
        """Half-way between the last sample before the end and the first one after [ns]."""
        before = self.times[max(self.end - 1, 0)]
        return before + (self.times[self.end] - before) // 2


def told(rows: pd.DataFrame, rule: bool | str, kind: type[Part] = Part) -> Told:
    """What a job's own samples say."""
    groups: list[list[Seen]] = []
    for each in seen(rows, rule):
        groups = [*groups, [each]] if each.is_new else [*groups[:-1], [*groups[-1], each]]
    parts = [kind(group) for group in groups]
    end = next((i for i, status in enumerate(rows["status"]) if status in FINISHED), None)
    return Told([time.value for time in rows["sampled_at"]], end, parts, [part.said() for part in parts])


def eta(samples: pd.DataFrame, rule: bool | str = "auto", *, correction: bool = True) -> np.ndarray:
    """`eta` of sorted samples: median, low and high (n x 3)."""
    jobs = {job_id: told(rows, rule, Corrected if correction else Part) for job_id, rows in samples.groupby("job_id")}
    given = {job_id: job.own for job_id, job in jobs.items()}
    if "label" in samples:
        labels = samples.groupby("job_id")["label"].first()
        for label in labels.dropna().unique():
            alike = {job_id: jobs[job_id] for job_id in labels.index[labels == label] if jobs[job_id].parts}
            given |= taught(alike)
    seconds = np.full((len(samples), 3), np.nan)
    for job_id, place in samples.groupby("job_id").indices.items():
        for part, outlooks in zip(jobs[job_id].parts, given[job_id], strict=True):
            seconds[place[part.at]] = part.seconds(outlooks)
    return seconds


def taught(jobs: dict[str, Told]) -> dict[str, list[list[Outlook | None]]]:
    """What each job of a label foretells with the lessons of those that had finished before it ran."""
    lessons, finished = Lessons(), []
    given: dict[str, list[list[Outlook | None]]] = {}
    for job_id in sorted(jobs, key=lambda each: (jobs[each].begin, each)):
        job = jobs[job_id]
        while finished and finished[0][0] <= job.begin:
            earlier = heapq.heappop(finished)[1]
            lessons.add(list(proved(jobs[earlier], given[earlier])))
        given[job_id] = [
            [
                outlook and lessons.applied(each.work / max(each.size, 1), outlook)
                for each, outlook in zip(part.samples, own, strict=True)
            ]
            for part, own in zip(job.parts, job.own, strict=True)
        ]
        if job.end is not None:
            heapq.heappush(finished, (job.times[job.end], job_id))
    return given


def proved(job: Told, given: list[list[Outlook | None]]) -> list[tuple[float, Outlook, Outlook, float]]:
    """The forecasts of a finished job, with what came true."""
    return [
        (each.work / max(each.size, 1), own, outlook, (job.finish - job.times[each.at]) / 1e9)
        for part, owns, outlooks in zip(job.parts, job.own, given, strict=True)
        for each, own, outlook in zip(part.samples, owns, outlooks, strict=True)
        if own is not None and outlook is not None and each.at < job.end
    ]


# -- the record --------------------------------------------------------------------------------------------------------


def usual(part: Part, at: int) -> dict[str, float]:
    """What three usual formulas foretell at a sample of a part."""
    t, u = part.t, part.u
    from_ = max(at - 10, 0)
    took = done = 0.0
    last = 0
    for i in range(1, at + 1):
        if u[i] > u[last]:
            took += 0.3 * (t[i] - t[last] - took)
            done += 0.3 * (u[i] - u[last] - done)
            last = i
    rates = {"mean": (t[at], u[at]), "tqdm": (took, done), "window": (t[at] - t[from_], u[at] - u[from_])}
    return {
        method: part.left[at] * seconds / items if items > 0 and part.samples[at].known else math.nan
        for method, (seconds, items) in rates.items()
    }


def backtest(samples: pd.DataFrame, forecast: pd.DataFrame, rule: bool | str = "auto") -> list[dict[str, object]]:
    """`eta_backtest` of sorted samples, of which `forecast` has what `eta` says."""
    table = []
    for job_id, rows in samples.groupby("job_id"):
        job = told(rows, rule)
        if job.end is None:
            continue
        running = [(part, k) for part in job.parts for k, each in enumerate(part.samples) if each.at < job.end]
        if not running:
            continue
        last, newest = running[-1]
        goal = max(last.samples[newest].size, 1)
        moments = []
        for share in SHARES:
            nth = next(
                (n for n, (part, k) in enumerate(running) if part is last and last.samples[k].work / goal >= share), 0
            )
            if nth > 0:
                moments.append((share, *running[nth]))
        steps = [(after - before) / 1e9 for before, after in pairwise(job.times)]
        poll_s = median(steps)
        for method in ("mops", "mean", "tqdm", "window"):
            for share, part, k in moments:
                at = part.samples[k].at
                truth = (job.finish - job.times[at]) / 1e9
                low = high = math.nan
                if method == "mops":
                    names = ["remaining_s", "remaining_low_s", "remaining_high_s"]
                    seconds, low, high = forecast.loc[rows.index[at], names]
                else:
                    seconds = usual(part, k)[method]
                table.append(
                    {
                        "job_id": job_id,
                        "method": method,
                        "share_done": share,
                        "remaining_s": seconds,
                        "remaining_low_s": low,
                        "remaining_high_s": high,
                        "true_remaining_s": truth,
                        "log_error": abs(math.log((seconds + poll_s) / (truth + poll_s))),
                        "covered": None if math.isnan(low) else bool(low - poll_s / 2 <= truth <= high + poll_s / 2),
                    }
                )
    return table


def record(table: list[dict[str, object]]) -> str:
    """`backtest_summary` of the record."""
    ours = [row for row in table if row["method"] == "mops" and not math.isnan(row["log_error"])]
    if not ours:
        return "no finished job yet: this forecast has no track record"
    jobs = {row["job_id"] for row in ours}
    held = []
    for job_id in jobs:
        covered = [row["covered"] for row in ours if row["job_id"] == job_id]
        held.append(sum(covered) / len(covered))
    half_way = [row["log_error"] for row in ours if row["share_done"] == 0.5]
    line = (
        f"80 % interval held {100 * sum(held) / len(held):.0f} % over your last {len(jobs)} job{'s' * (len(jobs) > 1)}"
    )
    return line + (f"; median error at half-way {100 * math.expm1(median(half_way)):.0f} %" if half_way else "")
