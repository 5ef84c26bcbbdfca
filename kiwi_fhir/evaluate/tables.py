"""Tables for a terminal: counts of errors, and the reliability of scores. They hold no word of a note."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from rich.box import SIMPLE_HEAD
from rich.table import Table

from kiwi_fhir.evaluate.calibration import BINS, Reliability
from kiwi_fhir.evaluate.counts import LEVELS, TYPES, Level
from kiwi_fhir.evaluate.errors import CLASSES, STYLES, Analysis, Class

_NONE = "–"
#: Eight classes and the types of links fit 80 columns only so.
_HEADINGS: dict[Class, str] = {
    "boundary": "bound-\nary",
    "missed_end": "missed\nend",
    "spurious": "spuri-\nous",
    "spurious_end": "spuri-\nous\nend",
}


def error_tables(analysis: Analysis) -> list[Table]:
    """Two tables a level: its classes with their shares of the errors, in all and by style; its types by class.

    They fit 80 columns.
    """
    return [made for level in LEVELS for made in (_by_class(analysis, level), _by_type(analysis, level))]


def calibration_table(calibration: Mapping[Level, Reliability]) -> Table:
    """Ten bins of scores: count, mean score and share right (exact) of each level, and the calibration error."""
    made = _table("Reliability of the scores")
    made.add_column("\nscore")
    for level in LEVELS:
        for name in (f"{level}\ncount", "\nmean", "\nright"):
            made.add_column(name, justify="right", no_wrap=True)
    for place in range(BINS):
        cells = [f"{place / BINS:.1f}-{(place + 1) / BINS:.1f}"]
        for level in LEVELS:
            one = calibration[level].bins[place]
            cells += [str(one.count), _number(one.score), _number(one.right)]
        made.add_row(*cells)
    made.add_section()
    cells = ["ECE"]
    for level in LEVELS:
        cells += [str(calibration[level].count), "", _number(calibration[level].error)]
    made.add_row(*cells, style="bold")
    return made


def _by_class(analysis: Analysis, level: Level) -> Table:
    counts = Counter((error.kind, error.style) for error in analysis.errors if error.level == level)
    made = _table(f"{level.capitalize()}: errors by class and style of the note")
    made.add_column("\nclass")
    made.add_column(f"{sum(analysis.notes.values())} notes\nall", justify="right", no_wrap=True)
    made.add_column("\nshare", justify="right", no_wrap=True)
    for style in STYLES:
        made.add_column(f"{analysis.notes.get(style, 0)} notes\n{style}", justify="right", no_wrap=True)
        made.add_column("\nshare", justify="right", no_wrap=True)
    for name, given in (("gold", analysis.gold), ("predicted", analysis.predicted), ("right", analysis.right)):
        by_style = [given.get((level, style), 0) for style in STYLES]
        cells = [name]
        for count in (sum(by_style), *by_style):
            cells += [str(count), ""]
        made.add_row(*cells)
    made.add_section()
    totals = [sum(counts[kind, style] for kind in CLASSES) for style in STYLES]
    for kind in CLASSES:
        by_style = [counts[kind, style] for style in STYLES]
        if not any(by_style):
            continue
        cells = [kind]
        for count, total in zip((sum(by_style), *by_style), (sum(totals), *totals), strict=True):
            cells += [str(count), _share(count, total)]
        made.add_row(*cells)
    cells = ["errors"]
    for total in (sum(totals), *totals):
        cells += [str(total), _share(total, total)]
    made.add_row(*cells, style="bold")
    return made


def _by_type(analysis: Analysis, level: Level) -> Table:
    counts = Counter((error.type, error.kind) for error in analysis.errors if error.level == level)
    present = [kind for kind in CLASSES if any(counts[name, kind] for name in TYPES[level])]
    made = _table(f"{level.capitalize()}: errors by type")
    made.add_column("type", no_wrap=True)
    for kind in present:
        made.add_column(_HEADINGS.get(kind, kind), justify="right", no_wrap=True)
    made.add_column("all", justify="right", no_wrap=True)
    for name in TYPES[level]:
        row = [counts[name, kind] for kind in present]
        if any(row):
            made.add_row(name, *map(str, row), str(sum(row)))
    return made


def _table(title: str) -> Table:
    return Table(title=title, title_justify="left", box=SIMPLE_HEAD, padding=0, pad_edge=False)


def _number(value: float | None) -> str:
    return _NONE if value is None else f"{value:.3f}"


def _share(count: int, total: int) -> str:
    return f"{count / total:.0%}" if total else _NONE
