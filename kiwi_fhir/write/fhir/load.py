"""Bundles that were written before, to a FHIR server; what was sent is noted, so that a stopped load can go on.

The note is `load-NAME.state` beside the bundles (NAME is a hash of server and options): per file its SHA-256, how many
lines were dealt with, and the failures of the lines that were refused.
"""

from __future__ import annotations

import gzip
import hashlib
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import orjson

from kiwi_fhir.errors import InputError, UsageError
from kiwi_fhir.types import Failure
from kiwi_fhir.write.fhir.delivery import Parcel, Sent
from kiwi_fhir.write.fhir.server import FhirServer
from kiwi_fhir.write.shards import BUNDLES, failure_lines
from kiwi_fhir.write.store import LocalStore

_CHUNK = 100


@dataclass(slots=True)
class Counts:
    """What came of the bundles that were looked at now: `earlier` are those that the state says were dealt with."""

    notes: Counter[str] = field(default_factory=Counter)
    resources: Counter[str] = field(default_factory=Counter)
    failures: Counter[str] = field(default_factory=Counter)
    removed: int = 0
    earlier: int = 0

    def add(self, sent: Sent) -> None:
        """Count a note."""
        self.notes[sent.state] += 1
        self.resources.update(sent.resources)
        self.failures.update(failure.error for failure in sent.failures)
        self.removed += sent.removed

    @property
    def sent(self) -> int:
        """How many notes were looked at."""
        return sum(self.notes.values())


@dataclass(slots=True)
class _File:
    """The state of a file: `done` lines from its start, and the failures among them by line number from 0."""

    sha256: str
    done: int = 0
    failures: dict[str, list[dict[str, Any]]] = field(default_factory=dict)


def bundle_files(path: Path) -> list[Path]:
    """The files of a run's output folder, of a folder, or the file itself. Raises UsageError when there is none."""
    if not path.exists():
        raise UsageError(f"{path} does not exist.")
    if path.is_file():
        return [path]
    folder = path / BUNDLES if (path / BUNDLES).is_dir() else path
    files = sorted(file for file in folder.rglob("*") if file.is_file() and _is_bundles(file))
    if not files:
        raise UsageError(f"{path} holds no .ndjson file with bundles.")
    return files


def _is_bundles(file: Path) -> bool:
    return file.name.removesuffix(".gz").endswith(".ndjson") and not file.name.endswith("failures.ndjson")


class Load:
    """The load of one folder or file to one server."""

    def __init__(self, path: Path, server: FhirServer, options: str, *, resume: bool = False) -> None:
        """`options` is what else decides the outcome; `resume` goes on from the state of an earlier load.

        Raises UsageError where there is nothing to load.
        """
        self.counts = Counts()
        self._server = server
        self._files = bundle_files(path)
        self._root = path if path.is_dir() else path.parent
        name = hashlib.sha256(f"{server.base}\n{options}".encode()).hexdigest()[:8]
        self._store = LocalStore(str(self._root))
        self._state = f"load-{name}.state"
        self.failures_file = self._root / f"load-{name}.failures.ndjson"
        self._states: dict[str, _File] = self._read_state() if resume else {}

    def run(self, progress: Callable[[Counts], None]) -> None:
        """Send what the state does not hold yet; `progress` is called now and then.

        Raises InputError for a file that can't be read on (all others are sent), and what FhirServer.send raises.
        """
        broken = []
        try:
            for file in self._files:
                try:
                    self._load(file, progress)
                except (OSError, EOFError, zlib.error) as error:
                    reason = error.strerror if isinstance(error, OSError) and error.strerror else type(error).__name__
                    broken.append(f"{file} can't be read on: {reason}.")
        finally:
            self._store.write(self.failures_file.name, failure_lines(self._failures()))
        if broken:
            raise InputError(" ".join(broken))

    def _load(self, file: Path, progress: Callable[[Counts], None]) -> None:
        name, digest = file.relative_to(self._root).as_posix(), _digest(file)
        state = self._states.get(name)
        if state is None or state.sha256 != digest:
            state = self._states[name] = _File(digest)
        chunk: list[tuple[int, Parcel]] = []
        number = -1
        with _open(file) as stream:
            for number, line in enumerate(stream):
                if not line.strip():
                    continue
                if number < state.done and str(number) not in state.failures:
                    self.counts.earlier += 1
                    continue
                chunk.append((number, Parcel(_note_id(line) or f"{file.name}:{number + 1}", line.rstrip(b"\r\n"))))
                if len(chunk) == _CHUNK:
                    self._send(state, chunk)
                    progress(self.counts)
        if chunk:
            self._send(state, chunk)
            progress(self.counts)

    def _send(self, state: _File, chunk: list[tuple[int, Parcel]]) -> None:
        """Send a chunk and note it; a server that goes away in between costs no more than this chunk's comparison."""
        for (number, _), sent in zip(chunk, self._server.send(parcel for _, parcel in chunk), strict=True):
            self.counts.add(sent)
            state.failures.pop(str(number), None)
            if sent.failures:
                state.failures[str(number)] = [asdict(failure) for failure in sent.failures]
        state.done = max(state.done, chunk[-1][0] + 1)
        chunk.clear()
        files = {name: asdict(item) for name, item in self._states.items()}
        self._store.write(self._state, [orjson.dumps({"to": self._server.base, "files": files})])

    def _failures(self) -> Iterator[Failure]:
        for state in self._states.values():
            for line in sorted(state.failures, key=int):
                yield from (Failure(**failure) for failure in state.failures[line])

    def _read_state(self) -> dict[str, _File]:
        content = self._store.read(self._state)
        if content is None:
            return {}
        try:
            return {name: _File(**item) for name, item in orjson.loads(content)["files"].items()}
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise UsageError(f"{self._root / self._state} can't be read: load without --resume.") from error


def _open(file: Path) -> BinaryIO:
    return gzip.open(file) if file.suffix == ".gz" else file.open("rb")  # type: ignore[return-value]


def _digest(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _note_id(line: bytes) -> str | None:
    """The note's id as the bundle's identifier has it."""
    try:
        bundle = orjson.loads(line)
    except orjson.JSONDecodeError:
        return None
    identifier = bundle.get("identifier") if isinstance(bundle, dict) else None
    value = identifier.get("value") if isinstance(identifier, dict) else None
    return value if isinstance(value, str) else None
