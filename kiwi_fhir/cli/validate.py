"""`kiwi-fhir validate`: bundles to findings."""

from __future__ import annotations

import gzip
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from kiwi_fhir.errors import KiwiError, UsageError
from kiwi_fhir.fhir.validate import Finding, check_bundle

_SHOWN = 200
_WIDE = 200  # columns where no terminal sets them, so that paths stay whole in a log


def validate_paths(paths: list[Path]) -> None:
    """Print what is wrong with the bundles of `paths`. Raises KiwiError (exit 1) when anything is."""
    bundles = findings = 0
    table = Table("bundle", "path", "rule", "finding")
    for where, found in _checked(paths):
        bundles += 1
        for finding in found:
            findings += 1
            if findings <= _SHOWN:
                table.add_row(where, *(escape(str(part)) for part in (finding.path, finding.rule, finding.message)))
    if findings:
        console = Console()
        (console if console.is_terminal else Console(width=_WIDE)).print(table)
        raise KiwiError(f"{findings} findings in {bundles} bundles; the first {min(findings, _SHOWN)} are shown.")
    sys.stderr.write(f"kiwi-fhir: {bundles} bundles checked, nothing found.\n")


def _checked(paths: list[Path]) -> Iterator[tuple[str, list[Finding]]]:
    files: list[Path] = []
    for path in paths:
        if not path.exists():
            raise UsageError(f"{path} does not exist.")
        files += sorted(file for file in path.rglob("*") if _is_json(file)) if path.is_dir() else [path]
    if not files:
        raise UsageError("No .ndjson or .json file was found.")
    for file in files:
        for number, resource in _bundles(file):
            where = f"{file.name}:{number}"
            if resource is None:
                yield where, [Finding("", "json", "this is no JSON object")]
            else:
                yield where, list(check_bundle(resource))


def _is_json(path: Path) -> bool:
    return path.name.removesuffix(".gz").endswith((".ndjson", ".json")) and path.is_file()


def _bundles(path: Path) -> Iterator[tuple[int, dict[str, Any] | None]]:
    """Line numbers with what stands there; a .json file is one resource."""
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
