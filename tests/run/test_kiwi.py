"""The public API: texts and notes in; mentions, facts, bundles and tables out."""

import ast
import subprocess
import sys
from importlib.resources import files
from pathlib import Path

import orjson
import pytest

import kiwi_fhir
from kiwi_fhir.cli.run import run_pipeline
from kiwi_fhir.config import Config
from kiwi_fhir.extract.engine import CHUNK_NOTES
from kiwi_fhir.notes import LOCAL, SOURCES

TEXT = "He denies chest pain. Aspirin 81 mg daily. Hemoglobin 9.8 g/dL."


@pytest.fixture(scope="module")
def kiwi():
    return kiwi_fhir.load(device="cpu", threads=1)


def test_a_text(kiwi):
    result = kiwi(TEXT)
    assert [(mention.label, mention.span.of(TEXT)) for mention in result.mentions] == [
        ("problem", "chest pain"),
        ("drug", "Aspirin"),
        ("test", "Hemoglobin"),
    ]
    assert [fact.assertion for fact in result.facts] == ["absent", "present", "present"]
    types = [entry["resource"]["resourceType"] for entry in result.bundle["entry"]]
    assert types == ["Condition", "MedicationStatement", "Observation", "Provenance"]
    assert result.failures == ()
    assert kiwi(TEXT).bundle == result.bundle  # the id is of the text


def test_many_is_lazy_and_in_order(kiwi):
    taken = []

    def texts():
        for number in range(CHUNK_NOTES + 5):
            taken.append(number)
            yield f"Note {number}: no fever."

    results = kiwi.many(texts())
    assert taken == []
    first = next(results)
    assert len(taken) <= CHUNK_NOTES + 1
    rest = list(results)
    assert [result.note.text for result in (first, *rest)] == [f"Note {n}: no fever." for n in range(CHUNK_NOTES + 5)]


def test_it_makes_the_bundles_of_a_run(kiwi, tmp_path):
    demo = str(files("kiwi_fhir.demo") / "DocumentReference.ndjson")
    run_pipeline("document-reference", [demo], str(tmp_path / "out"), Config(), [])
    (path,) = (tmp_path / "out" / "bundles").iterdir()
    source = SOURCES["document-reference"](LOCAL)
    results = list(kiwi.many(note for file in source.files([demo]) for note in source.read(file)))
    made = [result.bundle for result in results]
    assert [_said(bundle) for bundle in made] == [_said(orjson.loads(line)) for line in path.read_bytes().splitlines()]


def _said(bundle):
    """A bundle without its confidences: sums are rounded otherwise in batches of other shapes."""
    if isinstance(bundle, dict):
        return {key: _said(value) for key, value in bundle.items() if key != "valueDecimal"}
    return [_said(item) for item in bundle] if isinstance(bundle, list) else bundle


class Raises:
    """An extractor that can't read one note."""

    model = None

    def __init__(self, extractor):
        self._extractor = extractor

    def predict(self, notes):
        if any("Zebra" in note.text for note in notes):
            raise ValueError("Zebra")
        return self._extractor.predict(notes)

    def count_windows(self, note):
        return self._extractor.count_windows(note)


def test_a_bad_note_is_a_failure_and_stops_nothing_else(kiwi):
    broken = kiwi_fhir.Kiwi(Raises(kiwi._extractor), kiwi._mapper)
    good, bad, also = broken.many(["No fever.", "Zebra", "Cough."])
    assert [fact.text for fact in (*good.facts, *also.facts)] == ["fever", "Cough"]
    assert (bad.document, bad.facts, bad.bundle, bad.mentions) == (None, (), {}, ())
    (failure,) = bad.failures
    assert (failure.stage, failure.error, failure.note_id) == ("extract", "model-error", bad.note.id)
    assert "Zebra" not in failure.message
    assert "The model raised ValueError" in bad._repr_html_()


def test_a_table_of_facts(kiwi):
    note = kiwi_fhir.Note("n1", TEXT, patient_id="p1", time="2026-03-04")
    table = kiwi_fhir.to_frame([kiwi(note), kiwi("Nothing here.")])
    rows = table.to_pylist()
    assert [(row["note_id"], row["patient_id"], row["label"], row["text"]) for row in rows] == [
        ("n1", "p1", "problem", "chest pain"),
        ("n1", "p1", "drug", "Aspirin"),
        ("n1", "p1", "test", "Hemoglobin"),
    ]
    assert [row["assertion"] for row in rows] == ["absent", "present", "present"]
    assert (rows[2]["value"], rows[2]["unit"], rows[2]["value_text"]) == (9.8, "g/dL", "9.8 g/dL")
    assert "81 mg" in rows[1]["dosage"]
    assert (rows[1]["start"], rows[1]["end"]) == (22, 29)
    assert 0 < rows[0]["score"] <= 1
    assert kiwi_fhir.to_frame([]).schema == table.schema


def test_a_notebook_shows_the_page_and_runs_nothing_of_the_note(kiwi):
    hostile = "Fever </iframe><script>alert(1)</script> \" onload='x' & no cough."
    shown = kiwi(hostile)._repr_html_()
    assert shown.startswith("<iframe sandbox=")
    assert shown.count("<") == 2  # the frame's own tags: all of the page is escaped inside an attribute
    assert "allow-same-origin" not in shown
    assert shown.count('"') == 6
    assert "&amp;lt;script&amp;gt;" in shown  # escaped on the page, and again as an attribute


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"model": "defualt"}, kiwi_fhir.ModelError, "defualt"),
        ({"min_score": 2}, kiwi_fhir.ConfigError, "min"),
        ({"mappings": "nowhere.toml"}, kiwi_fhir.UsageError, "nowhere.toml"),
        ({"terminology": "nowhere.csv"}, kiwi_fhir.UsageError, "nowhere.csv"),
        ({"device": "tpu"}, kiwi_fhir.ConfigError, "device"),
        ({"model": "http://127.0.0.1:9/v1", "min_score": 0.5}, kiwi_fhir.UsageError, "states no scores"),
    ],
)
def test_errors_are_the_programs_own(options, error, words):
    with pytest.raises(error, match=words):
        kiwi_fhir.load(**options)


def test_the_names_are_sorted_and_there():
    assert kiwi_fhir.__all__ == sorted(kiwi_fhir.__all__)
    assert all(getattr(kiwi_fhir, name).__name__ == name for name in kiwi_fhir.__all__)
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        kiwi_fhir.nothing  # noqa: B018
    # What type checkers are told and what is imported at run time are the same.
    tree = ast.parse(Path(kiwi_fhir.__file__).read_text())
    (typed,) = [node for node in tree.body if isinstance(node, ast.If)]
    told = {(alias.name, node.module) for node in typed.body for alias in node.names}
    assert told == {(name, f"kiwi_fhir.{module}") for name, module in kiwi_fhir._HOMES.items()}
    assert {name for name, _ in told} == set(kiwi_fhir.__all__)


def test_importing_is_cheap():
    code = (
        "import sys, time; began = time.perf_counter(); import kiwi_fhir; took = time.perf_counter() - began;"
        "heavy = {'torch', 'apache_beam', 'transformers', 'pyarrow', 'orjson', 'numpy'} & set(sys.modules);"
        "print(took, *heavy)"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    took, *heavy = ran.stdout.split()
    assert float(took) < 0.05
    assert heavy == []


def test_no_beam_is_needed():
    code = (
        "import sys; sys.modules['apache_beam'] = None; import kiwi_fhir;"
        "print(len(kiwi_fhir.load(device='cpu', threads=1)('No fever.').facts))"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "1"
