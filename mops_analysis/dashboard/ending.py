"""The end of the process: what a view still does ends first, and what it said is sent whole."""

from __future__ import annotations

import atexit
import sys
from collections.abc import Callable


def end_first(end: Callable[[], None]) -> None:
    """Have this called when the process ends, before all that is noted for it so far, and what waits sent after it.

    To be called with each drawing: a kernel notes what shuts its messages down when it sends its first picture.
    """
    for each in (_send, end):  # what is noted last comes first
        atexit.unregister(each)
        atexit.register(each)


def _send() -> None:
    # Returns when a kernel has sent all that waits. A picture that is sent while messages are shut down is cut short,
    # and the page takes the next message for the rest of it.
    sys.stdout.flush()
