"""What the stages did so far in this process: notes done, and the first error.

The default runner works in the process of the command line, so both are seen there: a runner hands errors on as text
only. Workers elsewhere count for themselves, and the display then follows the manifest.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

_lock = threading.Lock()
_done = 0
_error: BaseException | None = None


def reset() -> None:
    """Start again: no notes, no error."""
    global _done, _error
    with _lock:
        _done, _error = 0, None


def add(notes: int) -> None:
    """Count `notes` as done."""
    global _done
    with _lock:
        _done += notes


def done() -> int:
    """Notes done since `reset`."""
    return _done


def note(error: BaseException) -> None:
    """Keep `error` if it is the first."""
    global _error
    with _lock:
        _error = _error or error


def first_error() -> BaseException | None:
    """The first error since `reset`."""
    return _error


@contextmanager
def noted() -> Iterator[None]:
    """Keep what is raised inside, and let it go on."""
    try:
        yield
    except GeneratorExit:
        raise
    except BaseException as error:
        note(error)
        raise
