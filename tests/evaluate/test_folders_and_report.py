"""Two folders compared, and the report as tables and as a page."""

from html.parser import HTMLParser
from io import StringIO

import pytest
from rich.console import Console

from kiwi_fhir.errors import UsageError
from kiwi_fhir.evaluate import compare_folders, score
from kiwi_fhir.evaluate.report import html, table
from kiwi_fhir.types import Document, Mention, Note, Span

TEXT = "No fever.\r\nSevere cough & <b>rash</b>.\n"
ANN = (
    "T1\tnegation 0 2\tNo\nT2\tproblem 3 8\tfever\nT3\tproblem 11 23\tSevere cough\nT4\tseverity 11 17\tSevere\n"
    "R1\thasAttr Arg1:T2 Arg2:T1\nR2\thasAttr Arg1:T3 Arg2:T4\n"
)


@pytest.fixture
def folders(tmp_path):
    """`folders(name, {note: ann})` writes a brat folder over the same text."""

    def write(name, annotations, text=TEXT):
        folder = tmp_path / name
        folder.mkdir()
        for note, ann in annotations.items():
            (folder / f"{note}.txt").write_bytes(text.encode())
            (folder / f"{note}.ann").write_text(ann)
        return folder

    return write


def test_folders_are_compared_by_name(folders):
    gold = folders("gold", {"a": ANN, "b": ANN, "c": ANN})
    predicted = folders("predicted", {"a": ANN, "b": "T1\tproblem 3 8\tfever\n"})
    report = compare_folders(gold, predicted)
    row = report.row("mentions", "exact")
    assert (row.gold, row.predicted, row.matched) == (6, 3, 3)
    assert report.missing == ("c",)
    assert report.notes == 3


def test_a_list_of_names_narrows_both_folders(folders):
    gold = folders("gold", {"a": ANN, "b": ANN})
    predicted = folders("predicted", {"a": ANN, "b": ANN, "z": ANN})
    assert compare_folders(gold, predicted, only=frozenset({"b"})).notes == 1
    with pytest.raises(UsageError, match=r"gold lacks z\.ann"):
        compare_folders(gold, predicted, only=frozenset({"z"}))
    with pytest.raises(UsageError, match=r"predicted holds z\.ann, which .*gold lacks"):
        compare_folders(gold, predicted)


def test_a_list_whose_notes_have_no_prediction_scores_nothing(folders):
    report = compare_folders(
        folders("gold", {"a": ANN, "b": ANN}), folders("predicted", {"a": ANN}), only=frozenset({"b"})
    )
    assert report.missing == ("b",)
    assert report.row("mentions", "relaxed").recall.value == 0.0


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (TEXT.replace("\r\n", "\n"), "one has DOS line ends"),
        (TEXT.replace("cough", "Cough"), r"byte 18 \(line 2\)"),
        (TEXT + "x", r"byte 39 \(line 3\)"),
    ],
)
def test_texts_that_differ_are_told_before_offsets_are_read(folders, text, says):
    gold = folders("gold", {"a": ANN})
    predicted = folders("predicted", {"a": "T1\tproblem 3 8000\tfever\n"}, text)
    with pytest.raises(UsageError, match=says) as caught:
        compare_folders(gold, predicted)
    assert "a.txt" in str(caught.value)


def test_dropped_links_are_counted_by_side(folders):
    odd = ANN + "R3\thasAttr Arg1:T3 Arg2:T3\n"
    report = compare_folders(folders("gold", {"a": odd}), folders("predicted", {"a": ANN}))
    assert report.dropped == {"gold": 1, "predicted": 0}
    assert "left out: 1 gold, 0 predicted" in html(report)


def rendered(report, width):
    console = Console(width=width, file=StringIO())
    for part in table(report):
        console.print(part)
    return console.file.getvalue()


def documents(count, matched):
    def made(name, found):
        return Document(Note(name, TEXT), (Mention("problem", Span(3, 8)),) if found else ())

    gold = [made(f"n{step}", True) for step in range(count)]
    return gold, [made(f"n{step}", step < matched) for step in range(count)]


def test_tables_fit_a_terminal_of_80_columns():
    shown = rendered(score(*documents(5, 4), samples=100), 80)
    assert max(map(len, shown.splitlines())) <= 80
    (row,) = [line for line in shown.splitlines() if line.strip().startswith("problem ")]
    cells = row.split()
    assert cells[:6] == ["problem", "5", "4", "1.00", ".800", ".889"]
    assert "…" not in shown
    assert "100 bootstrap samples" in shown
    (empty,) = [line for line in shown.splitlines() if line.strip().startswith("drug ")]
    assert empty.split() == ["drug", "0", "0", *"––––––"]


class Cells(HTMLParser):
    """The rows of a page's tables as lists of text."""

    def __init__(self):
        super().__init__()
        self.rows, self.loaded = [], []

    def handle_starttag(self, tag, attrs):
        self.loaded += [value for name, value in attrs if name in ("src", "href")]
        if tag == "tr":
            self.rows.append([])
        elif tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_data(self, data):
        if self.rows and self.rows[-1]:
            self.rows[-1][-1] += data.strip()


def test_the_page_holds_every_row_and_escapes_names():
    gold, guesses = documents(5, 4)
    report = score([*gold, Document(Note("<script>x", ""), ())], guesses, samples=100)
    page = html(report, title="A & B <i>")
    assert "<script" not in page
    assert "&lt;script&gt;x" in page
    assert "<title>A &amp; B &lt;i&gt;</title>" in page
    parser = Cells()
    parser.feed(page)
    assert parser.loaded == []
    found = {row[0]: row for row in parser.rows}
    assert found["problem"][1:3] == ["5", "4"]
    assert found["problem"][5].startswith(".889")
    assert "–" in found["problem"][5]
    assert found["drug"][3:] == ["–"] * 6
    assert len(parser.rows) == 3 * 2 + 3 + 4 + 16 + 22
