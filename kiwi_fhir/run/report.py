"""A run's end: what the manifest says, gathered into failures.ndjson and run.json."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import orjson

from kiwi_fhir.errors import sentence
from kiwi_fhir.run.memory import peak_memory
from kiwi_fhir.run.prepare import Run
from kiwi_fhir.write.shards import FAILURES, MANIFEST, Entry, entries, remove_entry

REPORT = "run.json"


def finish(
    run: Run,
    status: str,
    total: float,
    seconds: dict[str, float],
    counts: Counter[str],
    error: BaseException | None = None,
) -> dict[str, Any]:
    """Gather what the manifest says into failures.ndjson and run.json; remove shards that this input has no more."""
    kept = list(_current(run, complete=status == "done"))
    sums: dict[str, Counter[str]] = {
        name: Counter()
        for name in ("notes", "mentions", "modifiers", "resources", "not_mapped", "merged", "conflicts", "failures")
    }
    for entry in kept:
        for name, counter in sums.items():
            counter.update(getattr(entry, name))
    run.store.write(
        FAILURES, (run.store.read(f"{MANIFEST}/{entry.key}.{FAILURES}") or b"" for entry in kept if entry.failures)
    )
    out = sums["notes"]["out"]
    errors = list(dict.fromkeys(entry.error for entry in kept if entry.error))
    if error is not None:
        errors.append("KeyboardInterrupt" if isinstance(error, KeyboardInterrupt) else sentence(error))
    notes = {key: sums["notes"][key] for key in ("in", "out", "failed", "dropped", "empty", "without_patient")}
    report = {
        "status": "failed" if errors and status == "done" else status,
        "errors": errors,
        "notes": notes,
        **{name: dict(sorted(counter.items())) for name, counter in sums.items() if name != "notes"},
        "shards": {"all": len(kept), "written": counts["shards_written"], "kept": counts["shards_kept"]},
        "versions": run.versions,
        "fingerprint": run.fingerprint,
        "seconds": {**{stage: round(value, 3) for stage, value in seconds.items()}, "total": round(total, 3)},
        "memory": peak_memory(),
        "notes_per_second": round(out / total, 2) if total and not counts["shards_kept"] else None,
    }
    run.store.write(REPORT, [orjson.dumps(report, option=orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS), b"\n"])
    return report


def read_report(run: Run) -> dict[str, Any]:
    """The report that `execute` wrote, also where it raised afterwards."""
    report: dict[str, Any] = orjson.loads(run.store.read(REPORT) or b"{}")
    return report


def _current(run: Run, *, complete: bool) -> Iterator[Entry]:
    """The entries of this run. After a complete run others are removed: their notes are gone from the input."""
    keys = {item.key for item in run.inputs}
    ends: dict[str, int] = {}
    found = [entry for entry in entries(run.store) if entry.fingerprint == run.fingerprint]
    for entry in found:
        item, _, number = entry.key.rpartition("-")
        if entry.last:
            ends[item] = min(int(number), ends.get(item, int(number)))
    for entry in entries(run.store):
        item, _, number = entry.key.rpartition("-")
        stale = item not in keys or int(number) > ends.get(item, int(number)) or entry.fingerprint != run.fingerprint
        if not stale:
            yield entry
        elif complete:
            remove_entry(run.store, entry)
