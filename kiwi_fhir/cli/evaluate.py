"""`kiwi-fhir evaluate`: two brat folders to scores."""

from __future__ import annotations

from pathlib import Path

import orjson
from rich.console import Console

from kiwi_fhir.errors import UsageError
from kiwi_fhir.evaluate import compare_folders
from kiwi_fhir.evaluate.report import html, table


def evaluate_folders(
    gold: Path, predicted: Path, only: Path | None, json_file: Path | None, html_file: Path | None
) -> None:
    """Print the scores of PREDICTED against GOLD, and write them as JSON and as a page where asked.

    Raises UsageError when a folder or the list `only` is not there, or the texts of the two folders differ.
    """
    names = None
    if only is not None:
        if not only.is_file():
            raise UsageError(f"The list '{only}' does not exist.")
        names = frozenset(only.read_text(encoding="utf-8").split())
    report = compare_folders(gold, predicted, only=names)
    if json_file is not None:
        json_file.write_bytes(
            orjson.dumps(
                report.to_json(), option=orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS | orjson.OPT_APPEND_NEWLINE
            )
        )
    if html_file is not None:
        html_file.write_text(html(report), encoding="utf-8")
    console = Console()
    for part in table(report):
        console.print(part)
