"""A report for people: tables for a terminal and a page for a browser."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape

from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from kiwi_fhir.evaluate.counts import LEVELS, TYPES, Level
from kiwi_fhir.evaluate.scores import CONFIDENCE, MICRO, Report, Value

_NONE = "–"

_STYLE = """
:root { color-scheme: light dark; --ink: #1c2330; --soft: #5d6778; --line: #dfe3ea; --page: #fff; --bar: #2f6fb4; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e6e9ef; --soft: #9aa4b5; --line: #313947; --page: #14181f; --bar: #7db2ee; }
}
body { margin: 0 auto; max-width: 76rem; padding: 2.5rem 1.5rem 4rem; background: var(--page); color: var(--ink);
  font: 16px/1.5 system-ui, sans-serif; }
h1 { font-size: 1.7rem; margin: 0 0 .25rem; } h2 { font-size: 1.15rem; margin: 2.5rem 0 .5rem; }
p { color: var(--soft); margin: .2rem 0; max-width: 60rem; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; font-size: .92rem; }
th, td { padding: .35rem .7rem; text-align: right; border-bottom: 1px solid var(--line); white-space: nowrap; }
th { color: var(--soft); font-weight: 600; } th:first-child, td:first-child { text-align: left; }
tr.micro td { font-weight: 700; } tr.none td { color: var(--soft); }
small { color: var(--soft); font-weight: 400; margin-left: .35em; }
.bar { display: inline-block; width: 4.5rem; height: .5rem; margin-left: .6rem; background: var(--line);
  border-radius: .25rem; overflow: hidden; } .bar i { display: block; height: 100%; background: var(--bar); }
"""


def table(report: Report) -> list[Table]:
    """A table for each level: gold and predicted counts, exact and relaxed precision, recall and F1 by type.

    Fits 80 columns. The interval is that of F1; the others stand in the JSON and on the page.
    """
    return [_level_table(report, level) for level in LEVELS]


def html(report: Report, title: str = "Scores") -> str:
    """The report as one page without outside resources, every interval with it."""
    parts = [
        "<!doctype html>\n<html lang=en><meta charset=utf-8>"
        "<meta name=viewport content='width=device-width, initial-scale=1'>",
        f"<title>{escape(title)}</title><style>{_STYLE}</style>\n<h1>{escape(title)}</h1>",
        *(f"<p>{escape(line)}</p>" for line in notices(report)),
    ]
    for level in LEVELS:
        parts.append(
            f"\n<h2>{level.capitalize()}</h2><div class=wide><table><thead>"
            "<tr><th><th><th><th colspan=3>exact<th colspan=3>relaxed</tr>"
            "<tr><th>type<th>gold<th>predicted" + "<th>precision<th>recall<th>F1" * 2 + "</tr></thead><tbody>"
        )
        parts += _html_rows(report, level)
        parts.append("</tbody></table></div>")
    parts.append("\n</html>\n")
    return "".join(parts)


def notices(report: Report) -> list[str]:
    """What a reader of the figures must know: notes, intervals, what was missing or left out."""
    lines = [f"{report.notes} notes. Relaxed: same type, overlapping, matched one to one."]
    if report.samples:
        lines.append(
            f"Intervals: {CONFIDENCE:.0%}, percentiles of {report.samples} bootstrap samples of the notes "
            f"(seed {report.seed})."
        )
    if report.missing:
        lines.append(
            f"{len(report.missing)} gold notes have no prediction and count as missed: {_some(report.missing)}."
        )
    if any(report.dropped.values()):
        counts = ", ".join(f"{count} {side}" for side, count in sorted(report.dropped.items()))
        lines.append(f"Links between labels that the guideline does not pair were left out: {counts}.")
    return lines


def _level_table(report: Report, level: Level) -> Table:
    caption = "\n".join(notices(report)) if level == LEVELS[-1] else None
    made = Table(
        title=level.capitalize(),
        title_justify="left",
        caption=caption,
        caption_justify="left",
        box=SIMPLE_HEAD,
        padding=0,
        pad_edge=False,
    )
    made.add_column("\ntype")
    for name in ("\ngold", "\npred", "exact\nP", "\nR", "\nF1", "\n95 %", "relaxed\nP", "\nR", "\nF1", "\n95 %"):
        made.add_column(name, justify="right", no_wrap=True)
    for name in (MICRO, *TYPES[level]):
        exact, relaxed = report.row(level, "exact", name), report.row(level, "relaxed", name)
        cells = [name, str(exact.gold), str(exact.predicted)]
        for row in (exact, relaxed):
            cells += [_number(row.precision.value), _number(row.recall.value), _number(row.f1.value), _interval(row.f1)]
        style = "bold" if name == MICRO else None if exact.gold or exact.predicted else "dim"
        made.add_row(*(Text(cell) for cell in cells), style=style)
    return made


def _html_rows(report: Report, level: Level) -> Iterator[str]:
    for name in (MICRO, *TYPES[level]):
        exact, relaxed = report.row(level, "exact", name), report.row(level, "relaxed", name)
        kind = "micro" if name == MICRO else "" if exact.gold or exact.predicted else "none"
        yield f"<tr class='{kind}'><td>{escape(name)}<td>{exact.gold}<td>{exact.predicted}"
        for row in (exact, relaxed):
            yield from (_html_cell(value, bar=value is row.f1) for value in (row.precision, row.recall, row.f1))
        yield "</tr>"


def _html_cell(value: Value, *, bar: bool) -> str:
    interval = f"<small>{_interval(value)}</small>" if value.interval else ""
    drawn = f"<span class=bar><i style='width:{100 * value.value:.1f}%'></i></span>" if bar and value.value else ""
    return f"<td>{_number(value.value)}{interval}{drawn}"


def _number(value: float | None) -> str:
    """`.791`, `1.00`; a dash for what could not be counted."""
    if value is None:
        return _NONE
    shown = f"{value:.3f}"
    return shown.removeprefix("0") if shown.startswith("0") else "1.00"


def _interval(value: Value) -> str:
    return f"{_short(value.interval[0])}–{_short(value.interval[1])}" if value.interval else ""


def _short(share: float) -> str:
    return f"{share:.2f}".removeprefix("0") if share < 0.995 else "1.0"


def _some(names: tuple[str, ...], most: int = 5) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
