"""Score `eta` beside five progress bars: `python benchmarks/eta/score.py [testing|fresh|fitting] [seed]`.

Constants and weights were fitted to the fitting part alone. The fresh part was made and recorded after the forecast had
been settled on the testing part, by other generators and of other kinds, to see what the figures are worth.

"mops" knows nothing but the job itself, and "plain" is it without the learned correction; "labelled" may learn from the
jobs of the same kind that had finished before.

Scored is each sample of a running job from the third on, once its counter has moved. With d the job's median time
between samples, x a forecast and y the truth:

- log error |ln((x + d) / (y + d))|;
- coverage: low - d/2 <= y <= high + d/2; a peer's interval is its forecast times and over 1.6;
- Winkler score of the interval of ln(x + d): its width, and ten times the distance where it misses;
- jumpiness: median of |change of the foretold finish| per second between samples.

Each is the mean over a job's samples, then over a kind's jobs (jumpiness: medians), then over the kinds.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import peers
import record_fresh
import stories
import stories_fresh

from mops_analysis.metrics import eta
from mops_analysis.metrics.arrays import Arrays
from mops_analysis.metrics.counting import includes_failed_so_far
from mops_analysis.metrics.running import count_work

#: Recorded work: the part of the kinds that are not fitted to, by file.
TRACES = {"testing": Path(__file__).with_name("traces.csv.gz"), "fresh": record_fresh.TRACES}
#: Kinds of recorded work in the fitting part, again or not.
FITTING_TRACES = ("compress", "parsing", "sql_inserts", "plots", "joins", "test_run", *record_fresh.FITTED)
#: Kinds of made jobs.
STORIES = {
    "fitting": ((stories, stories.FITTING), (stories_fresh, stories_fresh.FITTED)),
    "testing": ((stories, stories.TESTING),),
    "fresh": ((stories_fresh, stories_fresh.HELD),),
}
#: A trace of seconds stands for a job of minutes.
SLOWER = 60
PEER_SPREAD = 1.6
LEVELS = (0.5, 0.8, 0.95)


def traces(part: str) -> pd.DataFrame:
    table = pd.concat([pd.read_csv(path).assign(part=held) for held, path in TRACES.items()])
    is_fitted = table["kind"].str.removesuffix(" again").isin(FITTING_TRACES)
    table = table[is_fitted if part == "fitting" else ~is_fitted & (table["part"] == part)].reset_index(drop=True)
    last = table["job"] != table["job"].shift(-1)
    # One job a day, so that those of a kind follow one another.
    days = table.groupby("job").ngroup()
    frame = pd.DataFrame(
        {
            "job_id": "real " + table["job"],
            "sampled_at": pd.to_datetime(
                1_760_000_000 * 10**9 + (86_400_000 * days + SLOWER * table["ms"]) * 10**6, utc=True
            ),
            "status": np.where(last, "completed", "in_progress"),
            "progress_percentage": 100 * table["processed"] / table["total"],
            "processed_items": table["processed"],
            "total_items": table["total"],
            "failed_items": table["failed"],
            "latency_s": 0.1,
            "kind": "real " + table["kind"],
        }
    )
    return frame.astype({"job_id": "string", "sampled_at": "datetime64[ns, UTC]", "status": "string"})


def corpus(part: str, *, seed: int = 0, jobs: int = 24) -> pd.DataFrame:
    """Samples of one part, sorted, with a column `kind`."""
    seed += 1000 * (part == "fitting")
    made = [source.make(kinds, jobs=jobs, seed=seed) for source, kinds in STORIES[part]]
    frames = [*made, traces(part)]
    return pd.concat(frames).sort_values(["job_id", "sampled_at"], ignore_index=True)


def scored(samples: pd.DataFrame) -> tuple[pd.DataFrame, dict[str, np.ndarray]]:
    """The scored samples with `kind`, `job`, `t`, `truth`, `d`, `share`; and the peers' answers there."""
    arrays = Arrays.of(samples)
    running = count_work(arrays, includes_failed_so_far(arrays, "auto"))
    last = arrays.last
    finish = (arrays.time_ns[last] + arrays.time_ns[last - 1]) / 2
    step = pd.Series(np.diff(arrays.time_ns, prepend=0) / 1e9)
    step[arrays.first] = np.nan
    d = step.groupby(arrays.job).median().to_numpy()
    job = arrays.job[running.row]
    time_ns = arrays.time_ns[running.row]
    start = arrays.time_ns[arrays.first][job]
    table = pd.DataFrame(
        {
            "row": running.row,
            "kind": samples["kind"].to_numpy()[running.row],
            "job": job,
            "t": (time_ns - start) / 1e9,
            "truth": (finish[job] - time_ns) / 1e9,
            "d": d[job],
            "share": (time_ns - start) / (finish[job] - start),
        }
    )
    keep = (np.arange(len(job)) - np.searchsorted(job, job) >= 2) & (running.u > 0)
    return table[keep], {name: answer[keep] for name, answer in peers.foretell(running).items()}


def judge(table: pd.DataFrame, median: np.ndarray, low: np.ndarray, high: np.ndarray, level: float) -> pd.DataFrame:
    """One row per job: the four scores."""
    d, truth = table["d"].to_numpy(), table["truth"].to_numpy()
    y, m, lo, hi = (np.log(seconds + d) for seconds in (truth, median, low, high))
    finish = pd.Series(table["t"].to_numpy() + median)
    change = finish.diff().abs() / table["t"].diff().clip(lower=1e-3).to_numpy()
    change = np.where(table["job"] == table["job"].shift(), change, np.nan)
    each = pd.DataFrame(
        {
            "kind": table["kind"].to_numpy(),
            "job": table["job"].to_numpy(),
            "log_error": np.abs(m - y),
            "covered": (low - d / 2 <= truth) & (truth <= high + d / 2),
            "winkler": hi - lo + 2 / (1 - level) * (np.maximum(lo - y, 0) + np.maximum(y - hi, 0)),
            "jumpiness": change,
        }
    )
    jobs = each.groupby(["kind", "job"])
    return jobs[["log_error", "covered", "winkler"]].mean().join(jobs[["jumpiness"]].median()).reset_index()


def by_kind(jobs: pd.DataFrame) -> pd.DataFrame:
    kinds = jobs.groupby("kind")
    return kinds[["log_error", "covered", "winkler"]].mean().join(kinds[["jumpiness"]].median())


def score(samples: pd.DataFrame) -> tuple[dict[str, pd.DataFrame], dict[tuple[str, str], pd.Series]]:
    """Per method the scores by kind; and the coverage of `eta` by kind, level and share of the time."""
    table, answers = scored(samples)
    methods = {
        name: by_kind(judge(table, answer, answer / PEER_SPREAD, answer * PEER_SPREAD, 0.8))
        for name, answer in answers.items()
    }
    coverage = {}
    labelled = samples.assign(label=samples["kind"])
    for name, frame, correction in (("plain", samples, False), ("mops", samples, True), ("labelled", labelled, True)):
        for level in LEVELS:
            said = eta(frame, interval=level, correction=correction).iloc[table["row"]]
            ours = [said[column].to_numpy() for column in ("remaining_s", "remaining_low_s", "remaining_high_s")]
            kinds = by_kind(judge(table, *ours, level))
            coverage[name, f"{level:.0%} interval"] = kinds["covered"]
            if level == 0.8:
                methods[name] = kinds
                for low in (0, 0.2, 0.4, 0.6, 0.8):
                    part = ((table["share"] >= low) & (table["share"] < low + 0.2)).to_numpy()
                    some = by_kind(judge(table[part], *(seconds[part] for seconds in ours), level))
                    coverage[name, f"80% interval, {low:.0%}-{low + 0.2:.0%} of the time"] = some["covered"]
    return methods, coverage


def report(methods: dict[str, pd.DataFrame], coverage: dict[tuple[str, str], pd.Series]) -> str:
    ours = ("plain", "mops", "labelled")
    rivals = [name for name in methods if name not in ours]
    errors = pd.DataFrame({name: kinds["log_error"] for name, kinds in methods.items()})
    overall = pd.DataFrame({name: kinds.mean() for name, kinds in methods.items()})
    shown = errors.round(3)
    best = errors[rivals].min(axis=1)
    goals = {}
    for name in ours:
        ratio, covered = (errors[name] + 0.02) / (best + 0.02), methods[name]["covered"]
        shown[f"ratio {name}"], shown[f"covered {name}"] = ratio.round(2), (100 * covered).round().astype(int)
        share = overall[name] / overall[rivals].min(axis=1)
        goals[name] = {
            "log error / best peer's (<= 0.85)": f"{share['log_error']:.3f}",
            "worst kind / its best peer (<= 1.25)": f"{ratio.max():.2f} {ratio.idxmax()}",
            "80 % interval holds (76-88 %)": f"{covered.mean():.1%}",
            "least in a kind (>= 58 %)": f"{covered.min():.0%} {covered.idxmin()}",
            "Winkler / best peer's (<= 0.76)": f"{share['winkler']:.3f}",
            "jumpiness / tqdm's (<= 0.5)": f"{overall.loc['jumpiness', name] / overall.loc['jumpiness', 'tqdm']:.3f}",
        }
    cover = pd.DataFrame(
        {
            name: {what: 100 * kinds.mean() for (whose, what), kinds in coverage.items() if whose == name}
            for name in ours
        }
    )
    return "\n\n".join(
        [
            "Log error by kind; ratio to the best peer of that kind; share of truths in the 80 % interval\n"
            + shown.to_string(),
            "Over all kinds\n" + overall.round(3).to_string(),
            "Coverage [%]\n" + cover.round(1).to_string(),
            pd.DataFrame(goals).to_string(),
        ]
    )


def main() -> None:
    parts = sys.argv[1:2] or ["testing", "fresh"]
    seed = int(sys.argv[2]) if len(sys.argv) > 2 else 0
    for part in parts:
        started = time.monotonic()
        samples = corpus(part, seed=seed)
        kinds, jobs = samples["kind"].nunique(), samples["job_id"].nunique()
        print(f"{part} part, seed {seed}: {kinds} kinds, {jobs} jobs, {len(samples)} samples\n")
        print(report(*score(samples)))
        print(f"\n{time.monotonic() - started:.0f} s\n")


if __name__ == "__main__":
    main()
