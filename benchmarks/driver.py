"""What the drivers share: figures with their goals, costs taken in turns, an environment of a fixed size.

A driver is a module `benchmarks/pNN.py` that measures the goal PNN through the public interface, beside a plain
reference in the same run::

    def measure(*, small: bool) -> list[Figure]: ...

    if __name__ == "__main__":
        main(__doc__, measure)

It compares the results of both ways before it times them, so `--small`, which the tests run, checks that the driver
measures the right thing, whatever its figures are then.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import psutil

_FIXED = "BENCH_ENVIRONMENT"


@dataclass(frozen=True)
class Figure:
    """A measured figure and its goal.

    Attributes
    ----------
    goal
        Such as "P18".
    what
        What was divided by what, or counted.
    value
        The figure.
    at_most, at_least
        The bound that is the goal; None where there is none on that side.
    unit
        Behind the figure; "x" for a ratio.
    """

    goal: str
    what: str
    value: float
    at_most: float | None = None
    at_least: float | None = None
    unit: str = "x"

    @property
    def is_reached(self) -> bool:
        return (self.at_most is None or self.value <= self.at_most) and (
            self.at_least is None or self.value >= self.at_least
        )

    def __str__(self) -> str:
        bounds = (("at most", self.at_most), ("at least", self.at_least))
        goals = [f"{word} {bound:g} {self.unit}".strip() for word, bound in bounds if bound is not None]
        verdict = f"goal: {', '.join(goals)}; {'reached' if self.is_reached else 'MISSED'}" if goals else "no goal"
        return f"{self.goal:4} {self.what:58} {self.value:8.3g} {self.unit:2} ({verdict})"


Measure = Callable[..., list[Figure]]


def main(doc: str | None, measure: Measure) -> None:
    """Run a driver from the command line."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--small", action="store_true", help="a few rows, one round: checks the results, not the time")
    options = parser.parse_args()
    fix_environment()
    for figure in measure(small=options.small):
        # A goal is for the rows and rounds that it names.
        print(replace(figure, at_most=None, at_least=None) if options.small else figure, flush=True)


def fix_environment() -> None:
    """Start this process anew with twenty variables: some libraries read all of them at each call."""
    if os.environ.get(_FIXED) is None:
        said = {_FIXED: "fixed", "MPLBACKEND": "agg", "OMP_NUM_THREADS": "1", "PATH": os.environ.get("PATH", "")}
        fill = {f"VARIABLE_{number}": "x" * 20 for number in range(20 - len(said))}
        os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], said | fill)


def cpu_s() -> float:
    """CPU time that this process and those below it have taken, the ended ones too [s]."""
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    living = [process.cpu_times() for process in psutil.Process().children(recursive=True)]
    return time.process_time() + sum(times[0] + times[1] for times in (ended, *living))


def in_turns(
    ways: Mapping[str, Callable[[], object]], rounds: int, *, clock: Callable[[], float] = cpu_s
) -> dict[str, list[float]]:
    """CPU seconds of each way, round by round, A B A B: what else the machine does then weighs on all alike.

    All of it is done once more where the two best rounds of a way differ by more than 15 %. A driver whose server is
    a process below it gives `time.process_time` as `clock`: its own time alone.
    """
    costs: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(2):
        for _ in range(rounds):
            for name, way in ways.items():
                begun = clock()
                way()
                costs[name].append(clock() - begun)
        best = [sorted(times)[:2] for times in costs.values()]
        if rounds == 1 or all(second <= 1.15 * first for first, second in best):
            break
    return costs


def ratio(costs: Mapping[str, list[float]], name: str, reference: str) -> float:
    """Median of the ratios of each round."""
    pairs = zip(costs[name], costs[reference], strict=True)
    return statistics.median(one / max(other, 1e-9) for one, other in pairs)
