"""All goals, one after the other, each in a process of its own: `python -m benchmarks [--small]`."""

import subprocess
import sys
from pathlib import Path

drivers = sorted(path.stem for path in Path(__file__).parent.glob("p[0-9][0-9].py"))
failed = [
    name
    for name in drivers
    if subprocess.run([sys.executable, "-m", f"benchmarks.{name}", *sys.argv[1:]], check=False).returncode
]
if failed:
    sys.exit(f"no figures of {', '.join(failed)}")
