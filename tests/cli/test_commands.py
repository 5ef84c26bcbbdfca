"""Each command once as a user would call it."""

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from fhir.resources.R4B.bundle import Bundle as R4BBundle
from typer.testing import CliRunner

import kiwi_fhir
from kiwi_fhir import __version__
from kiwi_fhir.cli.commands import app

README = Path(__file__).parents[2] / "README.md"
TEXTS = {
    "ward/a.txt": "IMPRESSION: Severe pneumonia of the left lower lobe. No effusion.\r\n",
    "b.txt": "MEDICATIONS: aspirin 81 mg daily, metformin 500 mg twice daily.\n",
    "empty.txt": "",
}


@pytest.fixture
def texts(tmp_path):
    for name, text in TEXTS.items():
        path = tmp_path / "notes" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, newline="")
    return tmp_path / "notes"


def call(*arguments):
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code == 0, (result.output, result.exception)
    return result.output


def test_version():
    assert call("--version").strip() == f"kiwi-fhir {__version__}"


def test_extract_writes_brat_that_evaluates_as_perfect_against_itself(texts, tmp_path):
    call("extract", texts, "-o", tmp_path / "brat", "--device", "cpu")
    written = {path.name: path.read_bytes() for path in (tmp_path / "brat").iterdir()}
    assert written["ward-a.txt"] == TEXTS["ward/a.txt"].encode()
    assert written["empty.ann"] == b""
    assert re.search(rb"T\d+\tdrug \d+ \d+\taspirin\n", written["b.ann"])
    assert re.search(rb"R1\thasAttr Arg1:T\d+ Arg2:T\d+\n", written["b.ann"])
    output = call(
        "evaluate", tmp_path / "brat", tmp_path / "brat", "--json", tmp_path / "s.json", "--html", tmp_path / "s.html"
    )
    assert "micro" in output
    assert '"value": 1.0' in (tmp_path / "s.json").read_text()
    assert "<table>" in (tmp_path / "s.html").read_text()


def test_extract_writes_json_lines(texts, tmp_path):
    call("extract", texts, "-o", tmp_path / "out", "--format", "jsonl", "--device", "cpu")
    rows = [json.loads(line) for line in (tmp_path / "out" / "mentions.jsonl").read_text().splitlines()]
    assert [row["id"] for row in rows] == ["b", "empty", "ward-a"]
    drug = next(mention for mention in rows[0]["mentions"] if mention["label"] == "drug")
    span = drug["span"]
    assert TEXTS["b.txt"][span["start"] : span["end"]] == "aspirin"
    assert rows[1]["mentions"] == []


def test_min_score_leaves_out_and_counts(texts, tmp_path):
    def mentions(*options):
        call("extract", texts, "-o", tmp_path / "out", "--format", "jsonl", "--device", "cpu", *options)
        lines = (tmp_path / "out" / "mentions.jsonl").read_text().splitlines()
        return [mention for line in lines for mention in json.loads(line)["mentions"]]

    found = mentions()
    threshold = sorted(mention["score"] for mention in found)[1]  # of the one that is surer than the least sure
    sure = mentions("--min-score", str(threshold))
    assert all(one["score"] >= threshold for mention in sure for one in (mention, *mention["modifiers"]))
    assert 0 < len(sure) < len(found)
    out = tmp_path / "run"
    call(
        *("run", "--source", "text", "--input", texts, "--output", out, "--device", "cpu"),
        *("--min-score", str(threshold)),
    )
    report = json.loads((out / "run.json").read_text())
    assert sum(report["mentions"].values()) == len(sure)
    assert report["not_mapped"]["below min_score"] == len(found) - len(sure)
    refused = CliRunner().invoke(app, ["extract", str(texts), "-o", str(out), "--min-score", "2"])
    assert refused.exit_code == 2


def test_dry_run_counts_and_writes_nothing(texts, tmp_path):
    out = tmp_path / "out"
    output = call("run", "--source", "text", "--input", texts, "--output", out, "--dry-run", "--device", "cpu")
    assert re.search(r"notes\s+3, 0 can't be read", output)
    assert re.search(r"windows\s+2", output)
    assert re.search(r"estimate\s+\d+\.\d minutes", output)
    assert not out.exists()


class _Page(HTMLParser):
    """What a page loads from elsewhere, and the text in it."""

    def __init__(self):
        super().__init__()
        self.outside, self.text = [], []

    def handle_starttag(self, tag, attrs):
        for name, value in attrs:
            if name in ("src", "href") and value and not value.startswith("#"):
                self.outside.append(value)

    def handle_data(self, data):
        self.text.append(data)


def test_demo(tmp_path):
    output = call("demo", "-o", tmp_path / "demo")
    report = json.loads((tmp_path / "demo" / "run.json").read_text())
    assert report["notes"]["out"] == report["notes"]["in"] >= 12
    assert {"Condition", "Observation", "MedicationStatement", "Provenance"} <= set(report["resources"])
    assert re.search(r"Cardiology discharge summary +\d+ +\d+ +\d+", output)
    page = _Page()
    page.feed((tmp_path / "demo" / "index.html").read_text())
    assert page.outside == []
    first = next((tmp_path / "demo" / "brat").rglob("*.txt")).read_text(encoding="utf-8")
    assert " ".join(first.split()[:8]) in " ".join("".join(page.text).split())
    for path in (tmp_path / "demo" / "bundles").iterdir():
        for line in path.read_text(encoding="utf-8").splitlines():
            R4BBundle.model_validate_json(line)
    checked = CliRunner().invoke(app, ["validate", str(tmp_path / "demo" / "bundles")])
    assert checked.exit_code == 0, checked.output
    call("demo", "-o", tmp_path / "demo")


def test_validate_names_what_is_wrong(tmp_path):
    condition = {"resourceType": "Condition", "id": "c", "subject": {"display": "x"}}
    entry = {"fullUrl": "urn:uuid:1", "resource": condition, "request": {"method": "PUT", "url": "Condition/c"}}
    bundle = {"resourceType": "Bundle", "id": "b", "type": "transaction", "entry": [entry]}
    condition["verificationStatus"] = {"coding": [{"system": "urn:x", "code": "surely"}]}
    (tmp_path / "b.ndjson").write_text(json.dumps(bundle) + "\nno json\n")
    result = CliRunner().invoke(app, ["validate", str(tmp_path)])
    assert result.exit_code == 1
    assert "verificationStatus" in result.output
    assert "b.ndjson:2" in result.output


def test_the_readme_names_every_command_and_the_help_says_the_same():
    text = README.read_text(encoding="utf-8")
    commands = {command.name or command.callback.__name__ for command in app.registered_commands}
    commands |= {group.name for group in app.registered_groups}
    assert commands == set(re.findall(r"^\| `kiwi-fhir (\w+)", text, re.MULTILINE))
    options = set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", text))
    known = " ".join(call(command, "--help") for command in sorted(commands))
    assert {option for option in options if option not in known} <= {"--help", "--no-deps"}  # the second is pip's


def test_the_demo_table_runs_too(tmp_path):
    table = Path(kiwi_fhir.__file__).parent / "demo" / "NOTEEVENTS.csv"
    call("run", "--source", "mimic-iii", "--input", table, "--output", tmp_path / "out", "--device", "cpu")
    report = json.loads((tmp_path / "out" / "run.json").read_text())
    assert report["notes"]["dropped"] == 1
    assert report["notes"]["out"] == report["notes"]["in"] == 10
    bundles = (tmp_path / "out" / "bundles" / "00000-NOTEEVENTS-00000.ndjson").read_text().splitlines()
    subjects = {entry["resource"]["subject"]["reference"] for entry in json.loads(bundles[0])["entry"][:3]}
    assert len(bundles) == 10
    assert len(subjects) == 1
    assert subjects.pop().startswith("Patient/")
