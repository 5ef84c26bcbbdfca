from __future__ import annotations

import csv
import gzip
import io
import pickle
import random
import tempfile
import tracemalloc
import uuid
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kiwi_fhir.errors import UsageError
from kiwi_fhir.notes import LOCAL, SOURCES
from kiwi_fhir.types import Coding, Failure, Note

from .helpers import III, IV, iii_row, quoted, read, read_until_break, table, write

NAME = "NOTEEVENTS.csv"
TEXTS = [
    "plain",
    "",
    "one\ntwo\r\nthree\rfour\n",
    'he said "no" and ""none""',
    "comma, semicolon; tab\t",
    "NUL \x00 stays",
    " spaces kept \n ",
    "naïve µg 😀\u2028 \x85 \x1c end",
    "[**2151-7-16**] PHI",
    "1,2,3\n4,5,6,7,8,9,10,11,12\n",
]


@pytest.mark.parametrize("name", [NAME, NAME + ".gz"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_texts_come_back_exactly(name: str, end: str, tmp_path: Path) -> None:
    path = table(tmp_path / name, [iii_row(i, text) for i, text in enumerate(TEXTS)], end=end)
    notes, failures, dropped = read("mimic-iii", path)
    assert [note.text for note in notes] == TEXTS
    assert [note.id for note in notes] == [str(i) for i in range(len(TEXTS))]
    assert (failures, dropped) == ([], 0)


def test_a_row_becomes_a_note(tmp_path: Path) -> None:
    row = iii_row(7, "Lungs clear.", charttime='"2151-08-04 10:20:00"', category='"Physician "')
    notes, _, _ = read("mimic-iii", table(tmp_path / NAME, [row]))
    assert notes == [
        Note(
            id="7",
            text="Lungs clear.",
            patient_id="22532",
            encounter_id="167853",
            type=Coding("http://loinc.org", "11506-3", "Progress note"),
            time="2151-08-04T10:20:00",
            source="mimic-iii",
        )
    ]


@pytest.mark.parametrize(
    ("columns", "time"),
    [
        ({}, "2151-08-04"),
        ({"chartdate": "2151-08-04 00:00:00"}, "2151-08-04"),
        ({"chartdate": ""}, None),
        ({"chartdate": "yesterday"}, None),
        ({"charttime": "2151-08-04 23:59:59"}, "2151-08-04T23:59:59"),
        ({"charttime": "noon"}, "2151-08-04"),
    ],
)
def test_the_time_is_charttime_else_chartdate(columns: dict[str, str], time: str | None, tmp_path: Path) -> None:
    notes, _, _ = read("mimic-iii", table(tmp_path / NAME, [iii_row(1, "x", **columns)]))
    assert notes[0].time == time


@pytest.mark.parametrize(
    ("category", "description", "code"),
    [
        ("Discharge summary", "Addendum", "18842-5"),
        ("Nursing", "", "34746-8"),
        ("Nursing/other", "Report", "34746-8"),
        ("Physician ", "Physician Resident Progress Note", "11506-3"),
        ("Physician ", "Physician Attending Admission Note - MICU", "34117-2"),
        ("Consult", "", "11488-4"),
        ("General", "", "34109-9"),
        ("Nutrition", "Clinical Nutrition Note", "34801-1"),
        ("Social Work", "", "28653-4"),
        ("Respiratory ", "", "34838-3"),
        ("Pharmacy", "", "34821-9"),
        ("Case Management ", "", "46210-1"),
        ("Rehab Services", "", "34823-5"),
        ("RADIOLOGY", "CT HEAD W/O CONTRAST", "18748-4"),
        ("ECG", "Report", "11524-6"),
        ("Echo", "Report", "59281-6"),
    ],
)
def test_categories_map_to_loinc(category: str, description: str, code: str, tmp_path: Path) -> None:
    row = iii_row(1, "x", category=quoted(category), description=quoted(description))
    notes, _, _ = read("mimic-iii", table(tmp_path / NAME, [row]))
    assert notes[0].type is not None
    assert (notes[0].type.system, notes[0].type.code) == ("http://loinc.org", code)


def test_an_unknown_category_stays_as_text(tmp_path: Path) -> None:
    rows = [iii_row(1, "x", category='"Chaplain "'), iii_row(2, "x", category="")]
    notes, _, _ = read("mimic-iii", table(tmp_path / NAME, rows))
    assert [note.type for note in notes] == [Coding(None, None, "Chaplain"), None]


def test_rows_marked_as_errors_are_dropped_and_counted(tmp_path: Path) -> None:
    rows = [iii_row(i, "x", iserror=mark) for i, mark in enumerate(("", "1", "0", '"1"', "1.0"))]
    notes, failures, dropped = read("mimic-iii", table(tmp_path / NAME, rows))
    assert [note.id for note in notes] == ["0", "2"]
    assert (failures, dropped) == ([], 3)


def test_missing_ids_and_ids_with_a_decimal_point(tmp_path: Path) -> None:
    rows = [iii_row(1, "x", hadm_id=""), iii_row(2, "x", hadm_id="145834.0", subject_id="")]
    notes, _, _ = read("mimic-iii", table(tmp_path / NAME, rows))
    assert [(note.patient_id, note.encounter_id) for note in notes] == [("22532", None), (None, "145834")]


def test_columns_are_found_in_any_case_and_order(tmp_path: Path) -> None:
    header = "\ufeffText, iserror ,CATEGORY,ChartDate,hadm_id,SUBJECT_ID,row_id"
    path = table(tmp_path / NAME, ['"a\nb",,"Echo",2151-08-04,1,2,3'], header=header)
    notes, _, _ = read("mimic-iii", path)
    assert [(n.id, n.patient_id, n.encounter_id, n.text, n.time) for n in notes] == [
        ("3", "2", "1", "a\nb", "2151-08-04")
    ]


@pytest.mark.parametrize("header", ["a,b", "", "ROW_ID,SUBJECT_ID", '"unclosed', "x\ry\r"])
def test_missing_columns_are_a_usage_error_with_file_and_columns(header: str, tmp_path: Path) -> None:
    path = write(tmp_path / NAME, header + "\n")
    with pytest.raises(UsageError, match=r"NOTEEVENTS\.csv lacks the columns .*chartdate, category, iserror, text"):
        SOURCES["mimic-iii"](LOCAL).files([str(path)])


def test_a_file_that_breaks_off_before_its_header_is_a_usage_error(tmp_path: Path) -> None:
    path = tmp_path / "NOTEEVENTS.csv.gz"
    path.write_bytes(gzip.compress(III.encode())[:12])
    with pytest.raises(UsageError, match="breaks off"):
        SOURCES["mimic-iii"](LOCAL).files([str(path)])


def test_a_header_alone_is_no_note(tmp_path: Path) -> None:
    assert read("mimic-iii", table(tmp_path / NAME, [])) == ([], [], 0)
    assert read("mimic-iii", write(tmp_path / "b" / NAME, III)) == ([], [], 0)


def test_a_last_line_without_a_line_end_and_empty_lines_are_fine(tmp_path: Path) -> None:
    body = f"{III}\n\n{iii_row(1, 'a')}\r\n\r\n{iii_row(2, 'b')}"
    notes, failures, _ = read("mimic-iii", write(tmp_path / NAME, body))
    assert ([note.text for note in notes], failures) == (["a", "b"], [])


def test_a_row_with_a_wrong_number_of_fields_fails_alone(tmp_path: Path) -> None:
    wide = [iii_row(i, "x") + ",more" for i in range(6)]
    rows = [iii_row(1, "a"), wide[2], wide[3], iii_row(4, "d"), "5,6", iii_row(6, "f"), "7,8"]
    notes, failures, _ = read("mimic-iii", table(tmp_path / NAME, rows))
    assert [note.text for note in notes] == ["a", "d", "f"]
    assert [(item.note_id, item.error) for item in failures] == [(f"{NAME}:{i}", "bad-row") for i in (2, 3, 5, 7)]
    assert failures[0].message == "Row 2 at line 3 has 12 fields where the header has 11."


def test_an_unquoted_line_end_is_one_failure_not_many(tmp_path: Path) -> None:
    torn = iii_row(2, "").removesuffix('""') + "first line\nsecond, with comma\nthird"
    notes, failures, _ = read("mimic-iii", table(tmp_path / NAME, [iii_row(1, "a"), torn, iii_row(3, "c\nc")]))
    # The first line has the right number of fields, so it is a row; what follows can't be told from a short row.
    assert [note.text for note in notes] == ["a", "first line", "c\nc"]
    assert [(item.note_id, item.error) for item in failures] == [(f"{NAME}:3", "bad-row")]


@pytest.mark.parametrize("text", ['"he said "no" loud"', '"a\nb "quote" c\nd, e\n"', '"never closed', '"not\nclosed\n'])
def test_a_quote_out_of_place_spoils_its_own_row_only(text: str, tmp_path: Path) -> None:
    rows = [iii_row(1, "a"), iii_row(2, "", text=text), iii_row(3, "c\nc"), iii_row(4, "d")]
    notes, failures, _ = read("mimic-iii", table(tmp_path / NAME, rows))
    assert [note.text for note in notes] == ["a", "c\nc", "d"]
    assert [(item.note_id, item.error) for item in failures] == [(f"{NAME}:2", "bad-row")]


def test_a_quote_open_at_the_end_is_an_input_error(tmp_path: Path) -> None:
    rows = [iii_row(1, "a"), iii_row(2, "", text='"open\nto the end')]
    found, message = read_until_break("mimic-iii", table(tmp_path / NAME, rows))
    assert [item.id for item in found if isinstance(item, Note)] == ["1"]
    assert message == f"{NAME} breaks off inside the quoted text of row 2, which starts at line 3."


def test_no_row_after_a_bad_one_is_an_input_error(tmp_path: Path) -> None:
    path = table(tmp_path / NAME, [iii_row(1, "a"), '2,"b"c', "no row", "any more"])
    found, message = read_until_break("mimic-iii", path)
    assert [type(item) for item in found] == [Note, Failure]
    assert message is not None
    assert "can't be read on after row 2" in message


def test_bytes_that_are_not_utf8_fail_alone(tmp_path: Path) -> None:
    good, bad = iii_row(1, "caf\u00e9").encode(), iii_row(2, "caf\u00e9").encode("latin-1")
    path = write(tmp_path / NAME, b"\n".join([III.encode(), good, bad, good.replace(b"1", b"3", 1), b""]))
    notes, failures, _ = read("mimic-iii", path)
    assert [note.id for note in notes] == ["1", "3"]
    assert [(item.note_id, item.error) for item in failures] == [("2", "undecodable-text")]


def test_a_row_without_a_note_id_fails(tmp_path: Path) -> None:
    notes, failures, _ = read("mimic-iii", table(tmp_path / NAME, [iii_row(1, "a", row_id=""), iii_row(2, "b")]))
    assert [note.id for note in notes] == ["2"]
    assert [(item.note_id, item.error) for item in failures] == [(f"{NAME}:1", "bad-row")]


def test_messages_hold_no_text(tmp_path: Path) -> None:
    rows = [
        iii_row(1, "", text='"SECRET "x" SECRET"'),
        iii_row(2, "SECRET") + ",SECRET",
        iii_row(3, "fine"),
        iii_row(4, "SECRET", row_id=""),
    ]
    _, failures, _ = read("mimic-iii", table(tmp_path / NAME, rows))
    assert len(failures) == 3
    assert "SECRET" not in repr(failures)


@pytest.mark.parametrize("cut", [1, 5, 9, 300, 5000])
def test_truncated_gzip_gives_every_whole_row_then_an_input_error(cut: int, tmp_path: Path) -> None:
    rng = random.Random(4)
    rows = [iii_row(i, rng.randbytes(150).hex() + '\nline "two"\n') for i in range(400)]
    body = "".join(line + "\n" for line in (III, *rows)).encode()
    path = tmp_path / "NOTEEVENTS.csv.gz"
    packed = gzip.compress(body)[:-cut]
    path.write_bytes(packed)
    found, message = read_until_break("mimic-iii", path)
    # How many rows the rest of the stream really holds: zlib's own answer, byte by byte.
    engine = __import__("zlib").decompressobj(31)
    whole = engine.decompress(packed)
    expected = 0
    while expected < 400 and whole.startswith("".join(f"{line}\n" for line in (III, *rows[: expected + 1])).encode()):
        expected += 1
    assert message == "NOTEEVENTS.csv.gz breaks off: its gzip stream ends early. Fetch the file again."
    assert [item.id for item in found if isinstance(item, Note)] == [str(i) for i in range(expected)]
    assert len(found) == expected > 300


def test_a_field_longer_than_the_parsers_default_limit(tmp_path: Path) -> None:
    long = "x" * 300_000 + "\n" + "y" * 300_000
    notes, _, _ = read("mimic-iii", table(tmp_path / NAME, [iii_row(1, long), iii_row(2, "b")]))
    assert [note.text for note in notes] == [long, "b"]


def test_a_folder_gives_only_its_note_tables(tmp_path: Path) -> None:
    table(tmp_path / "iii/noteevents.csv.gz", [iii_row(1, "a")])
    write(tmp_path / "iii/ADMISSIONS.csv", "ROW_ID\n1\n")
    assert len(read("mimic-iii", tmp_path / "iii")[0]) == 1
    for name in ("discharge", "radiology"):
        table(tmp_path / f"iv/note/{name}.csv.gz", [f'{name},1,2,"DS",1,,,"x"'], header=IV)
        write(tmp_path / f"iv/note/{name}_detail.csv.gz", "note_id,subject_id,field_name\n")
    assert [note.id for note in read("mimic-iv", tmp_path / "iv")[0]] == ["discharge", "radiology"]


def test_mimic_iv_points_to_the_resources_of_mimic_fhir(tmp_path: Path) -> None:
    rows = ['10000032-DS-21,10000032,22595853,"DS",21,"2180-05-07 00:00:00",,"Name: ___\n"', "1-RR-2,1,,AR,2,,,x"]
    notes, _, _ = read("mimic-iv", table(tmp_path / "discharge.csv", rows, header=IV))
    base = uuid.uuid5(uuid.NAMESPACE_OID, "MIMIC-IV")

    def mimic_fhir(resource_type: str, key: str) -> str:
        return str(uuid.uuid5(uuid.uuid5(base, resource_type), key))

    assert notes == [
        Note(
            id="10000032-DS-21",
            text="Name: ___\n",
            patient_id=mimic_fhir("Patient", "10000032"),
            encounter_id=mimic_fhir("Encounter", "22595853"),
            type=Coding("http://loinc.org", "18842-5", "Discharge summary"),
            time="2180-05-07T00:00:00",
            source=f"DocumentReference/{mimic_fhir('DocumentReference', '10000032-DS-21')}",
        ),
        Note(
            id="1-RR-2",
            text="x",
            patient_id=mimic_fhir("Patient", "1"),
            type=Coding("http://loinc.org", "18748-4", "Diagnostic imaging study"),
            source=f"DocumentReference/{mimic_fhir('DocumentReference', '1-RR-2')}",
        ),
    ]
    # The one id that mimic-fhir publishes in its demo for this patient.
    assert notes[0].patient_id == "0a8eebfd-a352-522e-89f0-1d4a13abdebc"


def test_a_source_travels_by_pickle(tmp_path: Path) -> None:
    path = str(table(tmp_path / NAME, [iii_row(1, "a")]))
    source = SOURCES["mimic-iii"](LOCAL)
    source.files([path])
    copy = pickle.loads(pickle.dumps(source))
    assert list(copy.read(path)) == list(source.read(path)) != []


def test_memory_stays_flat(tmp_path: Path) -> None:
    path = table(tmp_path / "NOTEEVENTS.csv.gz", (iii_row(i, "line of text\n" * 270) for i in range(2000)))
    source = SOURCES["mimic-iii"](LOCAL)
    tracemalloc.start()
    count = sum(len(item.text) for item in source.read(str(path)) if isinstance(item, Note))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert count == 2000 * 13 * 270  # 7 MB of text
    assert peak < 3_000_000


any_text = st.text(alphabet=st.one_of(st.sampled_from('",\r\n\x00\t 1a'), st.characters(codec="utf-8")), max_size=60)


@settings(max_examples=150, deadline=None)
@given(
    texts=st.lists(any_text, min_size=1, max_size=5), packed=st.booleans(), terminator=st.sampled_from(["\n", "\r\n"])
)
def test_any_text_survives_the_tables(texts: list[str], packed: bool, terminator: str) -> None:
    for kind, header in (("mimic-iii", III), ("mimic-iv", IV)):
        out = io.StringIO(newline="")
        writer = csv.writer(out, lineterminator=terminator, quoting=csv.QUOTE_ALL)
        names = header.split(",")
        writer.writerow(names)
        for number, text in enumerate(texts):
            key = {"row_id": number, "note_id": f"n{number}", "subject_id": 5, "text": text}
            writer.writerow([key.get(name.lower(), "") for name in names])
        with tempfile.TemporaryDirectory() as folder:
            path = write(Path(folder) / ("t.csv.gz" if packed else "t.csv"), out.getvalue())
            notes, failures, dropped = read(kind, path)
        assert [note.text for note in notes] == texts
        assert (failures, dropped) == ([], 0)


@settings(max_examples=150, deadline=None)
@given(lines=st.lists(st.text(alphabet='1,"a\n', max_size=20), max_size=6))
def test_any_rubbish_between_rows_never_reaches_a_note_unseen(lines: list[str]) -> None:
    """Whatever stands between two rows: rows come back as they are, or failures or the break say what was lost."""
    with tempfile.TemporaryDirectory() as folder:
        path = table(Path(folder) / NAME, [iii_row(1, "a"), *lines, iii_row(2, "b"), iii_row(3, "c")])
        found, message = read_until_break("mimic-iii", path)
    notes = [item for item in found if isinstance(item, Note)]
    assert (notes[0].id, notes[0].text) == ("1", "a")
    if message is None:
        assert [note.text for note in notes][-1] == "c"
        lost = {"2"} - {note.id for note in notes}
        assert not lost or any(isinstance(item, Failure) for item in found)
