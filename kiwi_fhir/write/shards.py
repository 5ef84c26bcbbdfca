"""A shard's output: its files first, its manifest entry last.

Invariant: a manifest entry exists only when every file that it names was written whole. So a run that was killed is
continued by running the shards without a valid entry, and the result is that of a run that was never killed.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from decimal import Decimal
from typing import Any

import orjson

from kiwi_fhir.documents.brat import format_ann
from kiwi_fhir.types import Failure, Result, Shard
from kiwi_fhir.write.page import page
from kiwi_fhir.write.store import TEMPORARY, Store

BUNDLES, BRAT, PAGES, MANIFEST = "bundles", "brat", "pages", "manifest"
FAILURES = "failures.ndjson"
#: Sinks that write files; later ones (servers, databases) stand beside them.
SINKS = ("ndjson", "brat", "html")


@dataclass(frozen=True, slots=True)
class Entry:
    """The manifest's word on one shard.

    `digest` is of what was read, `fingerprint` of what it was read with (program, model, mapping, config); `files`
    holds `(path, SHA-256, bytes)`. Counts are of notes, of mentions and modifiers by label, of resources by type, of
    mentions without a resource by reason, one of which is `below min_score`: those are not among the mentions; then of
    resources that went into others by type, and of conflicts.
    """

    key: str
    digest: str
    fingerprint: str
    last: bool
    error: str | None
    notes: dict[str, int]
    mentions: dict[str, int]
    modifiers: dict[str, int]
    resources: dict[str, int]
    not_mapped: dict[str, int]
    merged: dict[str, int]
    conflicts: dict[str, int]
    failures: dict[str, int]
    files: list[tuple[str, str, int]]


#: Takes results somewhere else than to a file; what is refused there comes back as failures.
Deliver = Callable[[Sequence[Result]], list[Failure]]


def write_shard(
    store: Store, shard: Shard[Result], sinks: Sequence[str], fingerprint: str, deliver: Sequence[Deliver] = ()
) -> Entry:
    """Deliver the shard, write its files to `sinks`, then its entry; the files of an earlier run are removed first.

    A note that was refused is among the failures and stays in the files. Raises OSError when a file can't be written,
    and what `deliver` raises.
    """
    lost: list[Failure] = []
    whole: Counter[str] = Counter()
    for send in deliver:
        found = send(shard.items)
        lost += found
        # A note that two sinks refuse is one note; an id that the input has twice is two.
        whole |= Counter(failure.note_id for failure in found if not failure.kept)
    refused = whole.total()
    failed = refused + sum(not failure.kept for failure in shard.failures)
    shard = replace(shard, failures=(*shard.failures, *lost))
    earlier = read_entry(store, shard.key)
    if earlier is not None:
        remove_entry(store, earlier)
    files: list[tuple[str, str, int]] = []

    def put(path: str, chunks: Iterable[bytes]) -> None:
        digest, size = hashlib.sha256(), 0

        def counted() -> Iterator[bytes]:
            nonlocal size
            for chunk in chunks:
                digest.update(chunk)
                size += len(chunk)
                yield chunk

        store.write(path, counted())
        files.append((path, digest.hexdigest(), size))

    if "ndjson" in sinks:
        put(f"{BUNDLES}/{shard.key}.ndjson", (result.bundle + b"\n" for result in shard.items))
    if "brat" in sinks:
        seen: Counter[str] = Counter()
        for result in shard.items:
            name = file_name(result.document.note.id)
            seen[name] += 1
            if seen[name] > 1:  # an id that the input has twice must not cost a note its file
                name = f"{name}~{seen[name]}"
            put(f"{BRAT}/{shard.key}/{name}.txt", [result.document.note.text.encode()])
            put(f"{BRAT}/{shard.key}/{name}.ann", [format_ann(result.document).encode()])
    if "html" in sinks:
        # Decimals keep their digits on the page too, which orjson would not do.
        shown = ((result.document, json.loads(result.bundle, parse_float=Decimal)) for result in shard.items)
        put(f"{PAGES}/{shard.key}.html", (part.encode() for part in page(shown, shard.key)))
    put(f"{MANIFEST}/{shard.key}.{FAILURES}", failure_lines(shard.failures))
    entry = _entry(shard, fingerprint, files, out=len(shard.items) - refused, failed=failed)
    store.write(entry_path(shard.key), [orjson.dumps(asdict(entry), option=orjson.OPT_SORT_KEYS), b"\n"])
    return entry


def _entry(
    shard: Shard[Result], fingerprint: str, files: list[tuple[str, str, int]], *, out: int, failed: int
) -> Entry:
    mentions: Counter[str] = Counter()
    modifiers: Counter[str] = Counter()
    resources: Counter[str] = Counter()
    not_mapped: Counter[str] = Counter()
    merged: Counter[str] = Counter()
    conflicts: Counter[str] = Counter()
    left_out = 0
    empty = no_patient = 0
    for result in shard.items:
        document = result.document
        empty += not document.note.text.strip("\0 \t\r\n\f\v\ufeff")
        no_patient += document.note.patient_id is None
        distinct = {(held.label, held.span) for mention in document.mentions for held in mention.modifiers}
        distinct |= {(held.label, held.span) for held in document.unlinked}
        mentions.update(mention.label for mention in document.mentions)
        modifiers.update(label for label, _ in distinct)
        resources.update(result.resources)
        not_mapped.update(result.not_mapped)
        merged.update(result.merged)
        conflicts.update(result.conflicts)
        left_out += document.left_out
    if left_out:
        not_mapped["below min_score"] = left_out
    notes = {
        "in": out + failed,
        "out": out,
        "failed": failed,
        "dropped": shard.dropped,
        "empty": empty,
        "without_patient": no_patient,
    }
    return Entry(
        shard.key,
        shard.digest,
        fingerprint,
        shard.last,
        shard.error,
        notes,
        dict(mentions),
        dict(modifiers),
        dict(resources),
        dict(not_mapped),
        dict(merged),
        dict(conflicts),
        dict(Counter(failure.error for failure in shard.failures)),
        files,
    )


def failure_lines(failures: Iterable[Failure]) -> Iterator[bytes]:
    """Failures as lines of JSON."""
    for failure in failures:
        yield orjson.dumps(asdict(failure), option=orjson.OPT_SORT_KEYS | orjson.OPT_APPEND_NEWLINE)


def entry_path(key: str) -> str:
    """Where the manifest keeps the entry of the shard `key`."""
    return f"{MANIFEST}/{key}.json"


def read_entry(store: Store, key: str) -> Entry | None:
    """The entry of the shard `key`; None where there is none that can be read."""
    return _parse(store.read(entry_path(key)))


def entries(store: Store) -> Iterator[Entry]:
    """All entries, in the order of their keys."""
    for path in store.list(MANIFEST):
        if path.endswith(".json"):
            entry = _parse(store.read(path))
            if entry is not None:
                yield entry


def is_done(store: Store, shard: Shard[Any], fingerprint: str) -> bool:
    """Whether the shard was run before on the same input with the same fingerprint, and its files are whole."""
    entry = read_entry(store, shard.key)
    if entry is None or (entry.digest, entry.fingerprint) != (shard.digest, fingerprint):
        return False
    for path, digest, size in entry.files:
        content = store.read(path)
        if content is None or len(content) != size or hashlib.sha256(content).hexdigest() != digest:
            return False
    return True


def remove_entry(store: Store, entry: Entry) -> None:
    """Remove a shard's output, its entry first: without it the files count as unfinished."""
    store.remove(entry_path(entry.key))
    for path, _, _ in entry.files:
        store.remove(path)


def remove_leftovers(store: Store) -> None:
    """Remove what a killed run was writing."""
    for folder in (BUNDLES, BRAT, PAGES, MANIFEST):
        for path in store.list(folder):
            if path.endswith(TEMPORARY):
                store.remove(path)


def file_name(note_id: str) -> str:
    """A file name for a note id: letters, digits, `.`, `_` and `-` stay; other ids get a hash, so that none collide."""
    safe = re.sub(r"[^A-Za-z0-9._-]", "_", note_id).lstrip(".")[:120] or "note"
    return safe if safe == note_id else f"{safe}-{hashlib.sha256(note_id.encode()).hexdigest()[:8]}"


def _parse(content: bytes | None) -> Entry | None:
    if content is None:
        return None
    try:
        fields = orjson.loads(content)
        return Entry(
            **{**fields, "files": [(str(path), str(digest), int(size)) for path, digest, size in fields["files"]]}
        )
    except (ValueError, TypeError, KeyError):
        return None
