"""`kiwi-fhir validate`: bundles and resources to findings."""

from __future__ import annotations

import gzip
import sys
import zlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import orjson
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from kiwi_fhir.errors import KiwiError, UsageError
from kiwi_fhir.fhir.r4.outcome import issue_of, nothing_found
from kiwi_fhir.fhir.r4.spec import RESOURCES
from kiwi_fhir.fhir.r4.validate import Finding, check_bundle, check_resource

_SHOWN = 200
_WIDE = 200  # columns where no terminal sets them, so that paths stay whole in a log


@dataclass(slots=True)
class _Counts:
    """What was read: `unknown` are the types of which nothing but the id is checked."""

    resources: int = 0
    errors: int = 0
    warnings: int = 0
    unknown: Counter[str] = field(default_factory=Counter)


def validate_paths(paths: list[Path], outcome: Path | None = None) -> None:
    """Print what is wrong with the bundles and resources of `paths`, and write it to `outcome` as OperationOutcome.

    Raises KiwiError (exit 1) when anything is an error.
    """
    files = _files(paths)
    if outcome is None:
        _report(files, None)
        return
    outcome.parent.mkdir(parents=True, exist_ok=True)
    with outcome.open("wb") as stream:
        _report(files, stream)


def _report(files: list[Path], outcome: BinaryIO | None) -> None:
    counts = _Counts()
    table = Table("where", "", "path", "rule", "finding")
    for finding, where in _findings(files, counts):
        found = counts.errors + counts.warnings
        if outcome is not None:
            outcome.write(_START if found == 1 else b",\n")
            outcome.write(orjson.dumps(issue_of(finding, where)))
        if found <= _SHOWN:
            severity = "warning" if finding.is_warning else "error"
            table.add_row(*(escape(text) for text in (where, severity, finding.path, finding.rule, finding.message)))
    found = counts.errors + counts.warnings
    if outcome is not None:
        outcome.write(b"" if found else _START + orjson.dumps(nothing_found(counts.resources)))
        outcome.write(b"\n]}\n")
    if found:
        console = Console()
        (console if console.is_terminal else Console(width=_WIDE)).print(table)
    for kind, number in sorted(counts.unknown.items()):
        sys.stderr.write(f"kiwi-fhir: of {number} {kind} only the id was checked.\n")
    said = f"{counts.errors} errors and {counts.warnings} warnings in {counts.resources} resources"
    if counts.errors:
        raise KiwiError(f"{said}; {min(found, _SHOWN)} are shown.")
    sys.stderr.write(f"kiwi-fhir: {said if found else f'{counts.resources} resources checked, nothing found'}.\n")


_START = b'{"resourceType":"OperationOutcome","issue":[\n'


def _findings(files: list[Path], counts: _Counts) -> Iterator[tuple[Finding, str]]:
    """Every finding with `file:line`; `counts` is kept up to date."""
    for file in files:
        for number, resource in _resources(file):
            counts.resources += 1
            for finding in _check(resource, counts):
                counts.warnings += finding.is_warning
                counts.errors += not finding.is_warning
                yield finding, f"{file.name}:{number}"


def _check(resource: dict[str, Any] | None, counts: _Counts) -> list[Finding]:
    if resource is None:
        return [Finding("", "json", "is no JSON object")]
    kind = resource.get("resourceType")
    if kind == "Bundle":
        entries = resource.get("entry")
        inside = (
            [entry.get("resource") for entry in entries if isinstance(entry, dict)] if type(entries) is list else []
        )
        _note_unknown(inside, counts)
        return check_bundle(resource)
    _note_unknown([resource], counts)
    return check_resource(resource)


def _note_unknown(resources: list[Any], counts: _Counts) -> None:
    for resource in resources:
        kind = resource.get("resourceType") if isinstance(resource, dict) else None
        if isinstance(kind, str) and kind not in RESOURCES:
            counts.unknown[kind if kind.isalpha() else "resource of an unknown type"] += 1


def _files(paths: list[Path]) -> list[Path]:
    files: list[Path] = []
    for path in paths:
        if not path.exists():
            raise UsageError(f"{path} does not exist.")
        files += sorted(file for file in path.rglob("*") if _is_json(file)) if path.is_dir() else [path]
    if not files:
        raise UsageError("No .ndjson or .json file was found.")
    return files


def _is_json(path: Path) -> bool:
    """Whether a file of a folder may hold FHIR: what a run writes beside its bundles does not."""
    own = path.name == "run.json" or path.name.endswith("failures.ndjson") or path.parent.name == "manifest"
    return path.name.removesuffix(".gz").endswith((".ndjson", ".json")) and path.is_file() and not own


def _resources(path: Path) -> Iterator[tuple[int, dict[str, Any] | None]]:
    """Line numbers with what stands there; a .json file is one resource. 0 is a .gz that breaks off."""
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as stream:
            lines = enumerate(stream, 1) if ".ndjson" in path.name else [(1, stream.read())]
            for number, line in lines:
                if not line.strip():
                    continue
                try:
                    resource = orjson.loads(line)
                except orjson.JSONDecodeError:
                    resource = None
                yield number, resource if isinstance(resource, dict) else None
    except (gzip.BadGzipFile, EOFError, zlib.error):
        yield 0, None
