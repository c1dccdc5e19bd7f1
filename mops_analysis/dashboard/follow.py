"""Following a store: read what is new since the last look, and summarise only the jobs that moved."""

from __future__ import annotations

from datetime import tzinfo
from typing import TYPE_CHECKING

import pandas as pd

from mops_analysis import metrics, schema

if TYPE_CHECKING:
    from mops_analysis.store import SampleStore


class Follower:
    """The samples of a store and their summary, brought up to date by `read`.

    Attributes
    ----------
    samples
        All samples so far, as `SampleStore.read_samples` gives them.
    summary
        What `summary` says about them.
    """

    def __init__(self, store: SampleStore) -> None:
        self.store = store
        self.samples = schema.to_frame([])
        self.summary = metrics.summary(self.samples)
        self._counts: dict[str, int] = {}

    def read(self) -> bool:
        """Read what is new.

        Returns
        -------
        bool
            Whether anything was.

        Raises
        ------
        StoreError
            If the store cannot be read; what was read before stays.
        """
        listed = self.store.jobs()
        counts = dict(zip(listed["job_id"], listed["samples"], strict=True))
        moved = [job_id for job_id, count in counts.items() if count != self._counts.get(job_id, 0)]
        if not moved and not self.summary.empty:
            return False
        known = [job_id for job_id in moved if job_id in self._counts]
        unknown = [job_id for job_id in moved if job_id not in self._counts]
        parts = [self.samples]
        if known:
            newest = self.samples[self.samples["job_id"].isin(known)].groupby("job_id")["sampled_at"].max()
            parts.append(self.store.read_samples(known, since=newest.min()))  # of one job, newer samples come later
        if unknown:
            parts.append(self.store.read_samples(unknown))
        samples = pd.concat([part for part in parts if len(part)] or parts[:1], ignore_index=True)
        samples = samples.drop_duplicates(["job_id", "sampled_at"]).sort_values(["job_id", "sampled_at"])
        self.samples = samples.reset_index(drop=True)
        self._summarise(moved)
        held = self.samples["job_id"].value_counts()
        # A job that still has fewer was given older samples from a file: it is read anew next time.
        self._counts = {str(job_id): count for job_id, count in held.items() if count >= counts.get(str(job_id), 0)}
        return True

    def fleet(self, window: str, tz: tzinfo) -> pd.DataFrame:
        """Return what `fleet` says of all jobs."""
        return metrics.fleet(self.samples, summary=self.summary, window=window, tz=tz)

    def _summarise(self, moved: list[str]) -> None:
        fresh = metrics.summary(self.samples[self.samples["job_id"].isin(moved)])
        if self.summary.empty:
            self.summary = fresh
            return
        kept = self.summary[~self.summary["job_id"].isin(moved)]
        parts = [part for part in (kept, fresh) if len(part)]
        self.summary = pd.concat(parts, ignore_index=True).sort_values("job_id", ignore_index=True)
