"""The index of names: one SQLite file, written once and then only read, by any number of threads and processes.

`name` answers what a key is called for a label of mentions; several concepts of the best rank and one system are an
ambiguity, and have no answer. `target` leads from a concept to the standard one ('Maps to' of OMOP).
"""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Iterable
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

from kiwi_fhir import __version__
from kiwi_fhir.normalize.terminology import names
from kiwi_fhir.types import MENTION_LABELS, MentionLabel

_LABELS = {label: number for number, label in enumerate(MENTION_LABELS)}
_SCHEMA = """
CREATE TABLE concept (id INTEGER PRIMARY KEY, system TEXT, code TEXT, display TEXT, concept_id INTEGER, domain TEXT,
    leads INTEGER, standard INTEGER);
CREATE TABLE target (source INTEGER, target INTEGER, PRIMARY KEY (source, target)) WITHOUT ROWID;
CREATE TABLE name (key TEXT, label INTEGER, rank INTEGER, concept INTEGER, PRIMARY KEY (key, label, rank, concept))
    WITHOUT ROWID;
CREATE TABLE word (word TEXT PRIMARY KEY) WITHOUT ROWID;
CREATE TEMP TABLE raw (key TEXT, label INTEGER, rank INTEGER, concept INTEGER);
CREATE TEMP TABLE synonym (key TEXT, concept INTEGER);
CREATE TEMP TABLE retired (concept INTEGER PRIMARY KEY);
"""
#: An index of another layout, or of a program that may fill it in another way, is built anew.
FORMAT = f"{__version__} {names.VERSION} {sha256(_SCHEMA.encode()).hexdigest()}"
_CONCEPT = "c.id, c.system, c.code, c.display, c.concept_id, c.domain, c.leads, c.standard"
_FIND = f"""
SELECT n.rank, {_CONCEPT} FROM name n JOIN concept c ON c.id = n.concept
WHERE n.key = ? AND n.label = ? ORDER BY n.rank, n.concept LIMIT 64
"""  # noqa: S608 (constants)
_TARGETS = f"SELECT {_CONCEPT} FROM target t JOIN concept c ON c.id = t.target WHERE t.source = ? ORDER BY c.id"  # noqa: S608
_BY_CODE = f"SELECT {_CONCEPT} FROM concept c WHERE c.code = ? AND c.system = ? ORDER BY c.id LIMIT 1"  # noqa: S608
_BATCH = 20_000
_MAPPED = 1 << 33


class Concept(NamedTuple):
    """A code with its name; `id` is the row's, `concept_id`, `domain` and `standard` are OMOP's.

    `leads` says that it leads to standard concepts; the index finds that out.
    """

    id: int
    system: str
    code: str
    display: str
    concept_id: int | None = None
    domain: str | None = None
    leads: int = 0
    standard: int = 0


class IndexWriter:
    """Writes an index file; `finish` makes it whole. Memory does not grow with the number of names."""

    def __init__(self, path: Path) -> None:
        self._connection = sqlite3.connect(path)
        self._connection.executescript(
            "PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; PRAGMA cache_size = -65536; PRAGMA temp_store = FILE;"
        )
        self._connection.executescript(_SCHEMA)
        self._rows: dict[str, list[tuple[object, ...]]] = {}
        self._words: set[str] = set()

    def concept(self, concept: Concept, *, retired: bool = False) -> None:
        """Add a concept. The names of a retired one count only when it leads to a standard one."""
        self._add("INSERT OR IGNORE INTO concept VALUES (?, ?, ?, ?, ?, ?, ?, ?)", tuple(concept))
        if retired:
            self._add("INSERT OR IGNORE INTO retired VALUES (?)", (concept.id,))

    def name(self, name: str, label: MentionLabel, rank: int, concept: int) -> None:
        """Add a name of a concept for mentions of `label`; the lowest rank wins."""
        if key := self._key(name):
            self._add("INSERT INTO raw VALUES (?, ?, ?, ?)", (key, _LABELS[label], rank, concept))

    def synonym(self, name: str, concept: int) -> None:
        """Add a name of a concept, for the labels of its other names and one rank below them."""
        if key := self._key(name):
            self._add("INSERT INTO synonym VALUES (?, ?)", (key, concept))

    def target(self, source: int, target: int) -> None:
        """Say that `source` leads to the standard concept `target`."""
        if source != target:
            self._add("INSERT OR IGNORE INTO target VALUES (?, ?)", (source, target))

    def finish(self) -> None:
        """Sort the names in, and close the file."""
        for statement in list(self._rows):
            self._flush(statement)
        run = self._connection.execute
        run("DELETE FROM target WHERE target NOT IN (SELECT id FROM concept) OR source NOT IN (SELECT id FROM concept)")
        run("UPDATE concept SET leads = 1 WHERE id IN (SELECT source FROM target)")
        if run("SELECT 1 FROM synonym LIMIT 1").fetchone():
            run("CREATE INDEX temp.raw_concept ON raw (concept)")
            run(
                "INSERT INTO raw SELECT s.key, r.label, min(r.rank) + 1, s.concept FROM synonym s "
                "JOIN raw r ON r.concept = s.concept GROUP BY s.key, r.label, s.concept"
            )
        run("DELETE FROM raw WHERE concept IN (SELECT concept FROM retired EXCEPT SELECT source FROM target)")
        run(
            "INSERT INTO name SELECT key, label, min(rank), concept FROM raw GROUP BY key, label, concept "
            "ORDER BY key, label, min(rank), concept"
        )
        self._connection.executemany("INSERT INTO word VALUES (?)", ((word,) for word in sorted(self._words)))
        run("CREATE INDEX concept_code ON concept (code, system)")
        self._connection.commit()
        self._connection.close()

    def close(self) -> None:
        """Give the file up, as far as it got."""
        self._connection.close()

    def _key(self, name: str) -> str:
        key = names.key(name)
        self._words.update(key.split(" "))
        return key

    def _add(self, statement: str, row: tuple[object, ...]) -> None:
        rows = self._rows.setdefault(statement, [])
        rows.append(row)
        if len(rows) >= _BATCH:
            self._flush(statement)

    def _flush(self, statement: str) -> None:
        self._connection.executemany(statement, self._rows.pop(statement))


class Index:
    """Reads an index file. Picklable: only the path travels, each thread and process opens the file for itself."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._local = threading.local()

    def __reduce__(self) -> tuple[type[Index], tuple[Path]]:
        return Index, (self.path,)

    def find(self, key: str, label: MentionLabel) -> tuple[Concept, ...]:
        """What `key` (of `names.key`) names for this label: one concept a system, of the best rank; else nothing."""
        rows = self._connection().execute(_FIND, (key, _LABELS[label])).fetchall()
        if not rows:
            return ()
        if len(rows) == 1:
            return (Concept._make(rows[0][1:]),)
        best = rows[0][0]
        return self._one_each([Concept(*row[1:]) for row in rows if row[0] == best])

    def targets(self, concept: Concept) -> tuple[Concept, ...]:
        """The standard concepts that a concept leads to."""
        if not concept.leads:
            return ()
        return tuple(Concept(*row) for row in self._connection().execute(_TARGETS, (concept.id,)))

    def by_code(self, system: str, code: str) -> Concept | None:
        """The concept of a code."""
        row = self._connection().execute(_BY_CODE, (code, system)).fetchone()
        return None if row is None else Concept(*row)

    def has_word(self, word: str) -> bool:
        """Whether any name has this word (of a key)."""
        return self._connection().execute("SELECT 1 FROM word WHERE word = ?", (word,)).fetchone() is not None

    def words_from(self, start: str) -> list[str]:
        """The words of names that begin with `start`, sorted."""
        query = "SELECT word FROM word WHERE word >= ? AND word < ? ORDER BY word"
        return [word for (word,) in self._connection().execute(query, (start, start + "\U0010ffff"))]

    def _one_each(self, found: Iterable[Concept]) -> tuple[Concept, ...]:
        """One concept a system; a system with several codes falls out, unless all lead to one standard concept."""
        by_system: dict[str, list[Concept]] = {}
        for concept in found:
            by_system.setdefault(concept.system, []).append(concept)
        kept: list[Concept] = []
        for concepts in by_system.values():
            if len({concept.code for concept in concepts}) == 1:
                kept.append(concepts[0])
                continue
            ends = {self.targets(concept) for concept in concepts}
            shared = ends.pop() if len(ends) == 1 else ()
            kept.extend(shared)
        return tuple(kept)

    def _connection(self) -> sqlite3.Connection:
        held: tuple[int, sqlite3.Connection] | None = getattr(self._local, "held", None)
        if held is None or held[0] != os.getpid():  # a connection must not cross a fork
            address = f"file:{quote(str(self.path.absolute()))}?mode=ro&immutable=1"
            connection = sqlite3.connect(address, uri=True, check_same_thread=False)
            connection.execute(f"PRAGMA mmap_size = {_MAPPED}")  # one copy in memory for all who read it
            held = self._local.held = (os.getpid(), connection)
        return held[1]
