"""Overrides of mapping files: merged key by key, refused at the right place, seen by the fingerprint."""

import re

import pytest

from kiwi_fhir.errors import MappingError
from kiwi_fhir.fhir.rules import load_rules
from kiwi_fhir.normalize import Normalizer
from kiwi_fhir.normalize.text.words import load_vocabulary
from kiwi_fhir.tables import Mappings, overrides
from kiwi_fhir.tables import mappings as tables_mappings


@pytest.fixture
def site(tmp_path):
    """`site(text)` is a folder with that overrides.toml."""

    def put(text, name="overrides"):
        (tmp_path / f"{name}.toml").write_text(text, encoding="utf-8")
        return tmp_path

    return put


@pytest.fixture
def profile(tmp_path_factory, monkeypatch):
    """`profile(text)` makes the packaged profile `clinic`, beside copies of the packaged files."""

    def put(text):
        folder = tmp_path_factory.mktemp("packaged")
        for path in overrides.packaged().glob("*.toml"):
            (folder / path.name).write_bytes(path.read_bytes())
        (folder / "profiles").mkdir()
        (folder / "profiles" / "clinic.toml").write_text(text, encoding="utf-8")
        for module in (overrides, tables_mappings):
            monkeypatch.setattr(module, "packaged", lambda: folder)
        return "clinic"

    return put


def test_one_value_changes_and_all_others_stay(site):
    packaged = Mappings.read().table("fhir")
    changed = Mappings.read(site('[fhir.condition]\nnegated = "drop"\n')).table("fhir")
    assert changed == packaged | {"condition": packaged["condition"] | {"negated": "drop"}}
    assert changed != packaged


def test_a_list_is_replaced_or_changed(site):
    before = Mappings.read().table("severity")["codes"]["24484000"]["words"]
    assert before == ["severe", "severely"]
    edit = '[severity.codes.24484000]\nwords = { add = ["marked", "severe"], remove = ["severely"] }'
    assert Mappings.read(site(edit)).table("severity")["codes"]["24484000"]["words"] == ["severe", "marked"]
    whole = 'severity.codes.24484000.words = ["awful"]'
    assert Mappings.read(site(whole)).table("severity")["codes"]["24484000"]["words"] == ["awful"]


def test_lists_of_tables_and_new_tables(site):
    folder = site(
        '[note_types]\nmimic-iv = { add = [{ category = "XX", code = "1-8", display = "x" }] }\n'
        '[severity.codes."1.2"]\ndisplay = "Tiny"\nwords = { add = ["tiny"] }\n'
    )
    assert Mappings.read(folder).table("note_types")["mimic-iv"][-1]["category"] == "XX"
    assert load_vocabulary("severity", Mappings.read(folder)).find("tiny").code == "1.2"


def test_a_file_a_folder_and_a_profile(site, profile, tmp_path):
    name = profile('[fhir.condition]\nnegated = "drop"\nhistory = "active"\n')
    assert load_rules(Mappings.read(name)).condition["negated"] == "drop"
    own = site('profile = "clinic"\n[fhir.condition]\nnegated = "observation"\n')
    for place in (own, own / "overrides.toml"):
        rules = load_rules(Mappings.read(place)).condition
        assert (rules["negated"], rules["history"], rules["possible"]) == ("observation", "active", "provisional")
    whole = Mappings.read().table("fhir")
    assert whole["condition"]["possible"] == "provisional"
    text = Mappings.read().path("fhir").read_text(encoding="utf-8")
    site(text.replace('possible = "provisional"', 'possible = "unconfirmed"', 1), "fhir")
    rules = load_rules(Mappings.read(own)).condition
    assert (rules["negated"], rules["history"], rules["possible"]) == ("observation", "active", "unconfirmed")


@pytest.mark.parametrize(
    ("text", "line", "says"),
    [
        ('\n[severities]\nsystem = "x"', 2, "key 'severities': is no mapping file; known are profile, "),
        ("severity = 3", 1, "key 'severity': must be a table"),
        ('profile = "none"', 1, "key 'profile': is no packaged profile; there are "),
        ('[fhir.condition]\n\nnegated = "gone"', 3, "key 'fhir.condition.negated': 'gone' is not allowed; allowed are"),
        ('[fhir.condition]\nnegate = "drop"', 2, "key 'fhir.condition.negate': is unknown; known are present, "),
        ("[fhir]\ncondition = 1", 2, "key 'fhir.condition': is a whole number; it must be a table"),
        ('[severity.codes.1]\ndisplay = "x"', 1, "key 'severity.codes.1.words': is missing"),
        (
            '[severity.codes.24484000.words]\nadd = ["a"]\nremove = ["awful"]',
            3,
            "key 'severity.codes.24484000.words.remove[0]': 'awful' is not in the list, so it can't be removed",
        ),
        (
            "[severity.codes.24484000.words]\nadd = [1]",
            2,
            "key 'severity.codes.24484000.words.add[0]': is a whole number; it must be text",
        ),
        ("[severity.fillers]\nadded = ['a']", 2, "key 'severity.fillers.added': is unknown: a list is replaced by"),
        ("[severity.fillers]\nadd = 'a'", 2, "key 'severity.fillers.add': must be a list"),
        ("[severity]\nfillers = ['a', 3]", 2, "key 'severity.fillers[1]': is a whole number; it must be text"),
        # The same word under two codes: the override is at fault, whichever code it stands under.
        ("[severity.codes.24484000.words]\nadd = ['mild']", 2, "key 'severity.codes.24484000.words.add[0]': 'mild' "),
        ("\n[severity.codes.255604002.words]\nadd = ['severe']", 3, "'severe' stands under '255604002' too"),
        ("[severity", 1, "Expected ']'"),
    ],
)
def test_errors_name_the_override(site, text, line, says):
    folder = site(text)
    with pytest.raises(MappingError) as error:
        load(folder)
    found = re.search(r"overrides\.toml, line (\d+): (.*)", str(error.value))
    assert found is not None, str(error.value)
    assert says in found[2]
    assert int(found[1]) == line


def load(folder):
    mappings = Mappings.read(folder)
    Normalizer(mappings)
    load_rules(mappings)


def test_errors_name_the_whole_file_where_the_fault_is_there(site):
    folder = site("[severity.codes.24484000.words]\nadd = ['marked']")
    site('system = "x"\n[codes.24484000]\ndisplay = 1\nwords = []\n', "severity")
    with pytest.raises(MappingError, match=r"severity\.toml, line 3: key 'codes\.24484000\.display'"):
        load_vocabulary("severity", Mappings.read(folder))
    site('system = "x"\n[codes.24484000]\ndisplay = "s"\nwords = ["a", 2]\n', "severity")
    with pytest.raises(MappingError, match=r"severity\.toml, line 4: key 'codes\.24484000\.words\[1\]'"):
        load_vocabulary("severity", Mappings.read(folder))


def test_keys_with_dots_are_found(site):
    folder = site('[severity.codes."E11.9"]\ndisplay = "x"\nwords = ["a"]\n')
    with pytest.raises(MappingError, match=r"overrides\.toml, line 1: key 'severity\.codes\.E11\.9': no"):
        Mappings.read(folder).refuse("severity", "codes.E11.9", "no")


def test_the_fingerprint_follows_overrides_and_profiles(site, profile):
    name = profile('fhir.condition.negated = "drop"')
    texts = ["", "\n", 'profile = "clinic"\n', 'profile = "clinic"\n\n']
    found = [Mappings.read(), Mappings.read(name)]
    found += [Mappings.read(site(f'{text}fhir.condition.negated = "drop"')) for text in texts]
    assert len({one.fingerprint for one in found}) == len(found) - 1
    assert found[1] == found[2], "a site's file with the profile's very bytes has the same effect"
    assert Mappings.read(site("") / "overrides.toml") == Mappings.read(site(""))
