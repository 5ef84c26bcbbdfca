"""`kiwi-fhir evaluate`: predicted annotation against gold, to scores, errors and calibration."""

from __future__ import annotations

from pathlib import Path

import orjson
from rich.console import Console, RenderableType

from kiwi_fhir.errors import UsageError
from kiwi_fhir.evaluate import read_pair
from kiwi_fhir.evaluate.calibration import calibrate, curve, to_json
from kiwi_fhir.evaluate.errors import error_lines, find_errors
from kiwi_fhir.evaluate.folders import JSON_LINES
from kiwi_fhir.evaluate.report import html, table
from kiwi_fhir.evaluate.tables import calibration_table, error_tables


def evaluate_folders(
    gold: Path,
    predicted: Path,
    only: Path | None,
    json_file: Path | None,
    html_file: Path | None,
    errors_file: Path | None = None,
) -> None:
    """Print the scores of PREDICTED against GOLD, and write them as JSON and as a page where asked.

    With `errors_file` every error is written there, with words of the notes, and counts of them are printed, without.
    Where PREDICTED is a .jsonl file with scores, their reliability is printed and stands in the JSON too, with
    precision and recall by threshold; where it has none, a sentence says so.

    Raises UsageError when a folder, a file or the list `only` is not there, or the texts of the two differ.
    """
    names = None
    if only is not None:
        if not only.is_file():
            raise UsageError(f"The list '{only}' does not exist.")
        names = frozenset(only.read_text(encoding="utf-8").split())
    pair = read_pair(gold, predicted, only=names)
    report = pair.score()
    tables: list[RenderableType] = [*table(report)]
    scores = report.to_json()
    if predicted.suffix == JSON_LINES:
        calibration = calibrate(pair.gold, pair.predicted)
        if any(found.count for found in calibration.values()):
            tables.append(calibration_table(calibration))
            scores["calibration"] = to_json(calibration)
            if json_file is not None:
                scores["curve"] = curve(pair.gold, pair.predicted)
        else:
            tables.append("The model states no scores: there is nothing to calibrate.")
    if errors_file is not None:
        analysis = find_errors(pair.gold, pair.predicted)
        tables += error_tables(analysis)
        errors_file.write_bytes(b"".join(error_lines(analysis.errors)))
    if json_file is not None:
        json_file.write_bytes(
            orjson.dumps(scores, option=orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS | orjson.OPT_APPEND_NEWLINE)
        )
    if html_file is not None:
        html_file.write_text(html(report), encoding="utf-8")
    console = Console()
    for part in tables:
        console.print(part)
