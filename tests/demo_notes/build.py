"""The demo notes as the program reads them: `python tests/demo_notes/build.py` writes kiwi_fhir/demo/.

The texts in notes/ and what notes.toml says of them are the source; the files in the package are never edited.
"""

import base64
import csv
import io
import json
import tomllib
from pathlib import Path

HERE = Path(__file__).parent
DEMO = HERE.parents[1] / "kiwi_fhir" / "demo"
COLUMNS = (
    *("ROW_ID", "SUBJECT_ID", "HADM_ID", "CHARTDATE", "CHARTTIME", "STORETIME"),
    *("CATEGORY", "DESCRIPTION", "CGID", "ISERROR", "TEXT"),
)


def load():
    """(notes with their `text`, the row marked as a mistake)."""
    table = tomllib.loads((HERE / "notes.toml").read_text(encoding="utf-8"))
    for note in table["note"]:
        text = (HERE / "notes" / note["file"]).read_text(encoding="utf-8")
        note["text"] = text.replace("\n", "\r\n") if note.get("dos") else text
    return table["note"], table["error"]


def document_reference(note):
    """A note as a FHIR R4 DocumentReference, marked as test data."""
    charset = note["type"].partition("charset=")[2]
    resource = {
        "resourceType": "DocumentReference",
        "id": note["id"],
        "meta": {
            "security": [
                {
                    "system": "http://terminology.hl7.org/CodeSystem/v3-ActReason",
                    "code": "HTEST",
                    "display": "test health data",
                }
            ]
        },
        "status": "current",
        "type": {"coding": [{"system": "http://loinc.org", "code": note["code"], "display": note["display"]}]},
        "subject": {"reference": f"Patient/demo-patient-{note['patient']}"},
        "date": note["date"],
        "description": note["title"],
        "content": [
            {
                "attachment": {
                    "contentType": note["type"],
                    "language": "en",
                    "data": base64.b64encode(note["text"].encode(charset)).decode(),
                }
            }
        ],
    }
    if "encounter" in note:
        resource["context"] = {"encounter": [{"reference": f"Encounter/demo-encounter-{note['encounter']}"}]}
    return resource


def ndjson(notes):
    return "".join(json.dumps(document_reference(note), separators=(",", ":")) + "\n" for note in notes)


def noteevents(notes, error):
    """MIMIC-III's NOTEEVENTS with the notes in plain text; discharge summaries have no time there, only a date."""
    out = io.StringIO(newline="")
    writer = csv.writer(out, lineterminator="\n", quoting=csv.QUOTE_NONNUMERIC)
    writer.writerow(COLUMNS)
    plain = [(note, "") for note in notes if note["type"].startswith("text/plain")]
    for number, (note, is_error) in enumerate([*plain, (error, "1")], 1):
        day, time = note["date"][:10], note["date"][11:19]
        discharge = note["category"] == "Discharge summary"
        charted, stored = ("", "") if discharge else (f"{day} {time}", f"{day} {time[:6]}59")
        writer.writerow(
            [
                *(number, 90000 + note["patient"], 190000 + note["encounter"] if "encounter" in note else ""),
                *(day, charted, stored, note["category"], note["description"], 20000 + number, is_error, note["text"]),
            ]
        )
    return out.getvalue()


def build():
    """File name to content of everything in the package's demo folder."""
    notes, error = load()
    return {"DocumentReference.ndjson": ndjson(notes).encode(), "NOTEEVENTS.csv": noteevents(notes, error).encode()}


if __name__ == "__main__":
    DEMO.mkdir(exist_ok=True)
    for name, content in build().items():
        (DEMO / name).write_bytes(content)
