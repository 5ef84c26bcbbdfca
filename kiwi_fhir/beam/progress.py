"""Notes done so far, for a progress display.

The default runner works in the process of the command line, where this counter is seen; workers elsewhere count for
themselves, and the display then follows the manifest.
"""

from __future__ import annotations

import threading

_lock = threading.Lock()
_done = 0


def add(notes: int) -> None:
    """Count `notes` as done."""
    global _done
    with _lock:
        _done += notes


def done() -> int:
    """Notes done since `reset`."""
    return _done


def reset() -> None:
    """Start again from zero."""
    global _done
    with _lock:
        _done = 0
