"""`python -m mops_analysis` is `mops`."""

import sys

from mops_analysis.cli import main

if __name__ == "__main__":
    sys.exit(main())
