"""`kiwi-fhir demo`: the bundled notes through the whole program."""

from __future__ import annotations

import shutil
from collections import Counter
from importlib.resources import as_file, files
from pathlib import Path

import orjson
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from kiwi_fhir.cli.run import run_pipeline
from kiwi_fhir.config import Config
from kiwi_fhir.write.shards import BUNDLES, PAGES

_TYPES = {
    "Condition": "problems",
    "Observation": "tests",
    "MedicationStatement": "drugs",
    "Procedure": "treatments",
    "FamilyMemberHistory": "family",
}


def run_demo(output: Path) -> None:
    """Run the synthetic notes, print what each became, and put the page at OUTPUT/index.html."""
    with as_file(files("kiwi_fhir.demo") / "DocumentReference.ndjson") as notes:
        config = Config().with_options(sink=("ndjson", "brat", "html"))
        run_pipeline("document-reference", [str(notes)], str(output), config, [], replace=True)
        titles = [_title(orjson.loads(line)) for line in notes.read_bytes().splitlines() if line.strip()]
    table = Table(title="Resources", title_justify="left", box=SIMPLE_HEAD, padding=0, pad_edge=False)
    table.add_column("note", no_wrap=True)
    for heading in _TYPES.values():
        table.add_column(heading, justify="right", no_wrap=True)
    bundles = sorted((output / BUNDLES).glob("*.ndjson"))
    lines = [line for path in bundles for line in path.read_bytes().splitlines()]
    for title, line in zip(titles, lines, strict=True):
        entries = orjson.loads(line).get("entry", ())
        counts = Counter(entry["resource"]["resourceType"] for entry in entries)
        table.add_row(title, *(str(counts[name]) for name in _TYPES))
    (page,) = sorted((output / PAGES).glob("*.html"))
    shutil.copyfile(page, output / "index.html")
    console = Console()
    console.print(table)
    console.print(f"Open {output / 'index.html'} in a browser; the bundles are in {output / BUNDLES}.", soft_wrap=True)


def _title(reference: dict[str, object]) -> str:
    described = reference.get("description") or reference["id"]
    return str(described)
