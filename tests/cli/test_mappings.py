"""`mappings check` finds what a run would refuse; `mappings show` says what is in effect and who changed it."""

import sys

import pytest

from kiwi_fhir.cli import main
from kiwi_fhir.tables import Mappings


@pytest.fixture
def call(monkeypatch, capsys):
    """`call("check")` is the exit code and what was written to stdout and stderr."""

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["kiwi-fhir", "mappings", *map(str, arguments)])
        with pytest.raises(SystemExit) as stopped:
            main()
        said = capsys.readouterr()
        return stopped.value.code or 0, said.out, said.err

    return run


@pytest.fixture
def clinic(tmp_path):
    path = tmp_path / "site" / "clinic.toml"
    path.parent.mkdir()
    path.write_text(
        '[fhir.drug]\npast = "stopped"\nlisted_sections = { add = ["plan"] }\n'
        '[fhir.elements.drug]\nform = "none"\n[severity.codes.24484000.words]\nadd = ["marked"]\n'
    )
    return path


def test_what_is_packaged_is_right(call):
    code, _, said = call("check")
    assert code == 0
    assert said == f"kiwi-fhir: {len(Mappings.read().names)} tables right.\n"


def test_a_file_a_folder_and_a_profile_are_checked(call, clinic):
    (clinic.parent / "overrides.toml").write_text(clinic.read_text())
    clinic.rename(clinic.with_suffix(".txt"))
    for path in (clinic.with_suffix(".txt"), clinic.parent, "us-core"):
        assert call("check", path)[0] == 0
    code, _, said = call("check", "nowhere")
    assert code == 2
    assert "no profile (us-core" in said


@pytest.mark.parametrize("name", Mappings.read().names)
def test_a_fault_in_any_table_is_found(call, tmp_path, name):
    path = tmp_path / "faulty.toml"
    path.write_text(f'\n[{name}]\n"no such key" = 1\n')
    code, _, said = call("check", path)
    assert code == 2
    assert f"faulty.toml, line 3: key '{name}.no such key'" in said


@pytest.mark.parametrize(
    ("text", "where"),
    [
        (
            "[fhir.drug]\nlisted_sections = ['garage']",
            "line 2: key 'fhir.drug.listed_sections[0]': 'garage' is no kind",
        ),
        ("[fhir.sections]\nignored = { add = ['attic'] }", "line 2: key 'fhir.sections.ignored.add[0]': 'attic' is no"),
        ("[assertion.sections.past]\nadd = ['cellar']", "line 2: key 'assertion.sections.past.add[0]': 'cellar' is no"),
        ("[sections.labs]\nheaders = { add = ['Plan'] }", "'plan' stands under"),
        ("[routes]\nsystem = 1", "line 2: key 'routes.system'"),
    ],
)
def test_the_first_fault_is_named(call, tmp_path, text, where):
    (tmp_path / "overrides.toml").write_text(text)
    code, _, said = call("check", tmp_path)
    assert code == 2
    assert where in said


def test_show_says_what_is_in_effect_and_who_changed_it(call, clinic):
    code, shown, _ = call("show", "--mention", "drug", "--mappings", clinic)
    assert code == 0
    lines = [[part.strip() for part in line.strip("│").split("│")] for line in shown.splitlines()]
    where = f"{clinic.parent.name}/clinic.toml, line"
    assert ["strength", "sets dosage.doseAndRate", "units, dosing", ""] in lines
    assert ["form", "left out", "dosing", f"{where} 5"] in lines
    assert ["drug.past", "stopped", "", f"{where} 2"] in lines
    assert ["drug.otherwise", "unknown", "", ""] in lines
    assert ["severity.codes.24484000.words", f"{where} 6"] in lines
    assert any(line[0] == "drug.listed_sections" and line[1].endswith(", plan") for line in lines)
    assert "condition.absent" not in shown


def test_show_without_a_mention_shows_all(call, tmp_path):
    (tmp_path / "severity.toml").write_text('system = "x"\n[codes]\n')
    shown = call("show", "--mappings", tmp_path)[1]
    for words in ("sets verificationStatus", "sets referenceRange", "sets performed", "severity.toml, whole"):
        assert words in shown
    code, _, said = call("show", "--mention", "person")
    assert code == 2
    assert "use problem, " in said
