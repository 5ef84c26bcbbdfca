"""What is known of a run while it goes: how many notes are done, and whether someone interrupted it.

Each run has its own. Stages get a copy, as runners send them to other threads and processes; all copies on one machine
count into one file. A worker on another machine has no such file and counts nothing.
"""

from __future__ import annotations

import os
import tempfile
from contextlib import suppress
from pathlib import Path
from types import TracebackType


class Progress:
    """Counts the notes that are done; a context manager that removes its file at the end.

    `interrupted` is set by the handler of a signal, as a runner may swallow what the handler raises.
    """

    def __init__(self) -> None:
        handle, path = tempfile.mkstemp(prefix="kiwi-fhir-")
        os.close(handle)
        self._path = Path(path)
        self.interrupted = False

    def add(self, notes: int) -> None:
        """Count `notes` as done: a byte each, as appending bytes needs no lock between processes."""
        with suppress(OSError):
            handle = os.open(self._path, os.O_WRONLY | os.O_APPEND)
            try:
                os.write(handle, b"." * notes)
            finally:
                os.close(handle)

    def done(self) -> int:
        """Notes done so far."""
        try:
            return self._path.stat().st_size
        except OSError:
            return 0

    def __enter__(self) -> Progress:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._path.unlink(missing_ok=True)
