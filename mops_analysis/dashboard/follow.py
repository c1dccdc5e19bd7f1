"""Following a store: read what is new since the last look, and summarise only the jobs that moved."""

from __future__ import annotations

import threading
import time
from collections.abc import Collection
from datetime import tzinfo
from typing import TYPE_CHECKING, Any

import pandas as pd

from mops_analysis import metrics, schema
from mops_analysis.metrics.counting import Votes, votes_by_job
from mops_analysis.metrics.fleet import Tail, is_recent, is_running, newest_rates, start_of, together, work_of_late

if TYPE_CHECKING:
    from mops_analysis.store import SampleStore

_FAILURE_WINDOW = "30min"  # of the failed share of all jobs
# So many rows go through the metrics together: enough to be quick, few enough to stop in time.
_ROWS_AT_ONCE = 20_000
# A look at a large store is not held up by the record of all that ever ended there.
_JUDGED_AT_ONCE = 10


class Follower:
    """The samples of a store, what the metrics say of them, and the forecasts' record.

    Attributes
    ----------
    summary
        What `summary` says about the samples.
    record
        What `backtest_summary` says about the forecasts for the jobs that have ended.
    lock
        To be held by who needs several of its frames as of one moment.
    """

    def __init__(self, store: SampleStore) -> None:
        self.store = store
        self.summary = metrics.summary(schema.to_frame([]))
        self.record = metrics.backtest_summary(metrics.eta_backtest(schema.to_frame([])))
        self.lock = threading.RLock()
        self._samples: dict[str, pd.DataFrame] = {}
        self._forecasts: dict[str, pd.DataFrame] = {}
        # A job that has moved is taken out of both; the rates are of the window below.
        self._rates: dict[str, pd.DataFrame] = {}
        self._tails: dict[str, Tail] = {}
        self._window = ""
        self._votes: dict[str, Votes | None] = {}  # of each job, on whether processed items include the failed ones
        self._everyone = Votes()
        self._waiting: dict[str, list[pd.DataFrame]] = {}  # read, and not yet taken in; the longest waiting job first
        self._last = 0
        self._judged: dict[str, pd.DataFrame] = {}

    @property
    def samples(self) -> pd.DataFrame:
        """All samples so far, as `SampleStore.read_samples` gives them."""
        return self.samples_of(self._samples)

    @property
    def newest(self) -> pd.Timestamp | None:
        """When the newest sample was taken; None before the first."""
        return self.summary["last_sampled_at"].max() if len(self.summary) else None

    @property
    def rule(self) -> dict[str, Any]:
        """What to tell a metric, so that it counts some of the jobs as it does among all of them."""
        return _rule(self._everyone)

    def samples_of(self, job_ids: Collection[str]) -> pd.DataFrame:
        """Return the samples of these jobs."""
        parts = [self._samples[job_id] for job_id in sorted(job_ids) if job_id in self._samples]
        return pd.concat(parts, ignore_index=True) if parts else schema.to_frame([])

    def forecasts_of(self, job_ids: Collection[str]) -> pd.DataFrame:
        """Return what `eta` says of these jobs, row for row with `samples_of`."""
        parts = [self._forecasts[job_id] for job_id in sorted(job_ids) if job_id in self._forecasts]
        return pd.concat(parts, ignore_index=True) if parts else metrics.eta(schema.to_frame([]))

    def read(self, most_s: float = float("inf")) -> bool:
        """Read what is new, and take it in, the longest waiting jobs first, as long as there is time.

        Parameters
        ----------
        most_s
            When to leave the rest for the next time [s]; something is taken in always.

        Returns
        -------
        bool
            Whether anything was taken in.

        Raises
        ------
        StoreError
            If the store cannot be read; what was read before stays.
        """
        end = time.monotonic() + most_s
        new, self._last = self.store.read_new_samples(self._last)
        for job_id, part in new.groupby("job_id", sort=False):
            self._waiting.setdefault(str(job_id), []).append(part)
        came = bool(self._waiting)
        while self._waiting:
            self._take_in(self._next_jobs())
            if time.monotonic() > end:
                break
        return came

    def _next_jobs(self) -> list[str]:
        rows = 0
        job_ids: list[str] = []
        for job_id, parts in self._waiting.items():
            rows += len(self._samples.get(job_id, ())) + sum(map(len, parts))
            if job_ids and rows > _ROWS_AT_ONCE:
                break
            job_ids.append(job_id)
        return job_ids

    def _take_in(self, job_ids: list[str]) -> None:
        joined = {job_id: _joined(self._parts(job_id)) for job_id in job_ids}
        samples = pd.concat([joined[job_id] for job_id in sorted(joined)], ignore_index=True)
        said = self._votes | votes_by_job(samples)
        everyone = sum(filter(None, said.values()), Votes())
        forecast = metrics.eta(samples, known=self.forecasts_of(job_ids))
        fresh = metrics.summary(samples, forecast=forecast, **_rule(everyone))
        kept = self.summary[~self.summary["job_id"].isin(job_ids)]
        parts = [part for part in (kept, fresh) if len(part)]
        summary = pd.concat(parts, ignore_index=True).sort_values("job_id", ignore_index=True)
        # At the end and at once: others look on, and what fails on the way still waits for the next look.
        with self.lock:
            self._samples |= joined
            self._forecasts.update((str(job_id), part) for job_id, part in forecast.groupby("job_id", sort=False))
            self.summary, self._votes = summary, said
            for job_id in job_ids:
                self._rates.pop(job_id, None)
                self._tails.pop(job_id, None)
                del self._waiting[job_id]
            self._hear(everyone, joined)

    def _parts(self, job_id: str) -> list[pd.DataFrame]:
        former = [self._samples[job_id]] if job_id in self._samples else []
        return [*former, *self._waiting[job_id]]

    def _hear(self, everyone: Votes, counted: Collection[str]) -> None:
        # Where all votes together come to say otherwise, the jobs that take their word wait to be taken in again.
        before, self._everyone = self._everyone, everyone
        if everyone.majority is not before.majority:
            asking = {job_id for job_id, said in self._votes.items() if said is None}
            for job_id in sorted(asking.difference(counted)):
                self._waiting.setdefault(job_id, [])

    def judge(self) -> bool:
        """Hold the forecasts for the jobs that have ended against what happened, the newest first, a few at a time.

        Returns
        -------
        bool
            Whether `record` has changed.
        """
        ended = self.summary[self.summary["status"].isin(schema.TERMINAL_STATUSES)]
        waiting = ended[~ended["job_id"].isin(self._judged)].nlargest(_JUDGED_AT_ONCE, "last_sampled_at")
        if waiting.empty:
            return False
        backtest = metrics.eta_backtest(self.samples_of(set(waiting["job_id"])))
        for job_id in waiting["job_id"]:
            self._judged[job_id] = backtest[backtest["job_id"] == job_id]
        before, self.record = self.record, metrics.backtest_summary(pd.concat(self._judged.values()))
        return self.record != before

    def fleet(self, window: str, tz: tzinfo) -> pd.DataFrame:
        """Return what `fleet` says of all jobs; only those that have moved are measured again."""
        with self.lock:
            now = self.summary["last_sampled_at"].max()
            since = start_of(_FAILURE_WINDOW, now)
            return together(self.summary, self._newest_rates(window), self._newest_tails(since), since, now, tz=tz)

    def _newest_rates(self, window: str) -> pd.DataFrame:
        if window != self._window:
            self._window, self._rates = window, {}
        wanted = self.summary["job_id"][is_running(self.summary)].tolist()
        if moved := [job_id for job_id in wanted if job_id not in self._rates]:
            rates = newest_rates(self.samples_of(moved), window=window, **self.rule)
            self._rates.update((str(job_id), row) for job_id, row in rates.groupby("job_id", sort=False))
        kept = [self._rates[job_id] for job_id in wanted]
        return pd.concat(kept, ignore_index=True) if kept else newest_rates(schema.to_frame([]), window=window)

    def _newest_tails(self, since: pd.Timestamp) -> list[Tail]:
        wanted = self.summary["job_id"][is_recent(self.summary, since)].tolist()
        if moved := [job_id for job_id in wanted if job_id not in self._tails]:
            self._tails |= work_of_late(self.samples_of(moved), since=since, **self.rule)
        self._tails = {job_id: self._tails[job_id] for job_id in wanted}
        return list(self._tails.values())


def _rule(everyone: Votes) -> dict[str, Any]:
    return {"processed_includes_failed": everyone}


def _joined(parts: list[pd.DataFrame]) -> pd.DataFrame:
    both = pd.concat(parts, ignore_index=True)
    if both["sampled_at"].is_monotonic_increasing:
        return both
    return both.sort_values("sampled_at", kind="stable", ignore_index=True)  # older ones, from a file
