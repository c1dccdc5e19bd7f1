"""All goals, one after the other, each in a process of its own: `python -m benchmarks [--small]`."""

import subprocess
import sys
from pathlib import Path

failed, missed = [], []
for path in sorted(Path(__file__).parent.glob("p[0-9][0-9].py")):
    command = [sys.executable, "-m", f"benchmarks.{path.stem}", *sys.argv[1:]]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as driver:
        assert driver.stdout is not None
        for line in driver.stdout:
            print(line, end="", flush=True)
            if "MISSED" in line:
                missed.append(line)
    if driver.returncode:
        failed.append(path.stem)
if failed:
    sys.exit(f"no figures of {', '.join(failed)}")
print("Every goal was reached." if not missed else f"\nMissed:\n{''.join(missed)}", flush=True)
