"""All goals, one after the other, each in a process of its own: `python -m benchmarks [--small]`."""

import subprocess
import sys
from pathlib import Path

for driver in sorted(Path(__file__).parent.glob("p[0-9][0-9].py")):
    done = subprocess.run([sys.executable, "-m", f"benchmarks.{driver.stem}", *sys.argv[1:]], check=False)
    if done.returncode:
        sys.exit(f"benchmarks.{driver.stem} failed")
