"""What a report and a tear sheet are made of: every metric of the samples, computed once."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from dataclasses import dataclass

import pandas as pd

from mops_analysis import metrics
from mops_analysis.charts import clock
from mops_analysis.metrics.eta import fan

#: The intervals of a forecast's fan; the middle one is that of the summary and of the record.
INTERVALS = (0.5, 0.8, 0.95)
_FAILURE_WINDOWS = ("2min", "5min", "10min", "30min", "1h")
_FAILURE_ITEMS = 200  # fewer in a window, and its interval says nothing


@dataclass(frozen=True)
class Measures:
    """The chosen jobs, measured. All jobs are measured together: they are evidence for one another's counting rule.

    Attributes
    ----------
    everything
        Samples of all jobs; `samples` of the chosen ones.
    summary, counting
        Of all jobs.
    anomalies, forecasts, throughput, failure_rate
        Of the chosen jobs; a forecast for each of `INTERVALS`.
    backtest
        Of all jobs.
    polls
        Every poll of the chosen jobs, None where it is not known.
    window
        Width of the throughput window.
    zone, ends
        Where clocks are read, and the first and last sample [days].
    """

    everything: pd.DataFrame
    samples: pd.DataFrame
    summary: pd.DataFrame
    counting: pd.DataFrame
    anomalies: pd.DataFrame
    forecasts: list[pd.DataFrame]
    throughput: pd.DataFrame
    failure_rate: pd.DataFrame
    backtest: pd.DataFrame
    polls: pd.DataFrame | None
    window: float | str
    zone: dt.tzinfo
    ends: tuple[float, float]

    @property
    def record(self) -> str:
        """How often the forecasts held, in words."""
        return metrics.backtest_summary(self.backtest)

    def rule(self, job_id: str) -> bool:
        """Whether the processed items of a job include the failed ones."""
        return bool(self.counting.set_index("job_id").loc[job_id, "processed_includes_failed"])

    def failed_polls(self, job_id: str) -> Counter[str]:
        """How many polls of a job ended with which fault."""
        if self.polls is None:
            return Counter()
        of_job = self.polls[self.polls["job_id"] == job_id]["outcome"]
        return Counter(of_job[of_job != "ok"].tolist())


def measure(
    everything: pd.DataFrame,
    chosen: pd.Series[bool],
    *,
    window: float | str,
    zone: dt.tzinfo,
    polls: pd.DataFrame | None = None,
) -> Measures:
    """Measure validated samples, of which the rows in `chosen` are reported on."""
    anomalies = metrics.anomalies(everything)
    times = clock.days_of(everything["sampled_at"][chosen])
    forecasts = fan(everything, INTERVALS)
    return Measures(
        everything=everything,
        samples=everything[chosen],
        summary=metrics.summary(everything, forecast=forecasts[1]),
        counting=metrics.counting(everything),
        anomalies=anomalies[anomalies["job_id"].isin(everything["job_id"][chosen])],
        forecasts=[forecast[chosen] for forecast in forecasts],
        throughput=metrics.throughput(everything, window=window)[chosen],
        failure_rate=metrics.failure_rate(everything)[chosen],
        backtest=metrics.eta_backtest(everything, forecast=forecasts[1]),
        polls=polls,
        window=window,
        zone=zone,
        ends=(float(times.min()), float(times.max())) if times.size else (0.0, 0.0),
    )


def windowed_failures(samples: pd.DataFrame, *, processed_includes_failed: bool) -> pd.DataFrame | None:
    """Return the failure rates of the shortest window that usually holds enough items, None where none does."""
    span = samples["sampled_at"].max() - samples["sampled_at"].min()
    for window in _FAILURE_WINDOWS:
        if 2 * pd.Timedelta(window) > span:
            return None
        rates = metrics.failure_rate(samples, window=window, processed_includes_failed=processed_includes_failed)
        if rates["finished"].median() >= _FAILURE_ITEMS:
            return rates
    return None
