"""One driver per goal: `python -m benchmarks.p18`, or all of them: `python -m benchmarks`."""
