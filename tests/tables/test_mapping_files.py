"""Mapping files: what is read, what is refused and where, what a fingerprint sees."""

import copy
import pickle
import re
import subprocess
import sys

import pytest

from kiwi_fhir.errors import MappingError
from kiwi_fhir.fhir.rules import load_rules
from kiwi_fhir.normalize import Normalizer, load_linker
from kiwi_fhir.tables import ListOf, MapOf, Mappings, OneOf

SCHEMA = {
    "system": str,
    "count": int,
    "on?": bool,
    "rate?": float,
    "kind": OneOf(("one", "two")),
    "codes": MapOf({"words": ListOf(str), "display?": str}),
}
GOOD = """# a comment = not a key
system = "x"
count = 1
kind = "one"

[codes.a]
words = [
  "b = c",
  "d",
]
"""


@pytest.fixture
def own(tmp_path):
    """`own(text)` is the mappings of a folder where severity.toml holds that text."""

    def put(text, name="severity"):
        (tmp_path / f"{name}.toml").write_text(text, encoding="utf-8")
        return Mappings.read(tmp_path)

    return put


def test_a_good_table_is_read_as_it_is(own):
    assert own(GOOD).table("severity", SCHEMA) == {
        "system": "x",
        "count": 1,
        "kind": "one",
        "codes": {"a": {"words": ["b = c", "d"]}},
    }


@pytest.mark.parametrize(
    ("change", "line", "says"),
    [
        (('system = "x"', "system = 3"), 2, "key 'system': is a whole number; it must be text"),
        (("count = 1", "count = true"), 3, "key 'count': is true or false; it must be a whole number"),
        (("count = 1", "count = 1\nrate = 'x'"), 4, "key 'rate': is text; it must be a number"),
        (('kind = "one"', 'kind = "three"'), 4, "key 'kind': 'three' is not allowed; allowed are one, two"),
        (("count = 1", "size = 1\ncount = 1"), 3, "key 'size': is unknown; known are system, count, on, rate"),
        (("count = 1\n", ""), 1, "key 'count': is missing"),
        (('  "d",', "  4,"), 7, "key 'codes.a.words[1]': is a whole number; it must be text"),
        (("words = [", "word = ["), 7, "key 'codes.a.word': is unknown"),
        (("[codes.a]", "[codes]\na = 1\n[codes.b]"), 7, "key 'codes.a': is a whole number; it must be a table"),
        (('kind = "one"', 'kind = "one"\n[codes.c]'), 5, "key 'codes.c.words': is missing"),
        (('  "b = c",\n  "d",\n]', '  "b"\n'), 8, "Unclosed array"),
        (("count = 1", "count = "), 3, "Invalid value"),
    ],
)
def test_a_wrong_table_names_line_key_and_what_is_allowed(own, change, line, says):
    old, new = change
    assert old in GOOD
    with pytest.raises(MappingError) as error:
        own(GOOD.replace(old, new, 1)).table("severity", SCHEMA)
    found = re.search(r"severity\.toml, line (\d+): (.*)", str(error.value))
    assert found is not None
    assert says in found[2]
    assert int(found[1]) == line


def test_a_line_is_found_in_arrays_of_tables_and_past_multi_line_text(own):
    text = 'text = """\n[rule]\nname = 1\n"""\n[[rule]]\nname = "a"\n[[rule]]\nname = 2\n'
    with pytest.raises(MappingError, match=r"line 8: key 'rule\[1\]\.name'"):
        own(text).table("severity", {"text": str, "rule": ListOf({"name": str})})


def test_refuse_names_the_line_too(own):
    with pytest.raises(MappingError, match=r"severity\.toml, line 6: key 'codes\.a': stands twice\."):
        own(GOOD).refuse("severity", "codes.a", "stands twice")


def test_what_can_not_be_read_is_a_mapping_error(tmp_path):
    with pytest.raises(MappingError, match=r"'.*nowhere' is no profile .*, no file and no folder"):
        Mappings.read(tmp_path / "nowhere")
    (tmp_path / "severity.toml").write_bytes(b'a = "\xff"')
    with pytest.raises(MappingError, match="is not UTF-8"):
        Mappings.read(tmp_path)


def test_a_folder_replaces_files_one_by_one(own, tmp_path):
    mappings, packaged = own('system = "mine"'), Mappings.read()
    assert mappings.table("severity") == {"system": "mine"}
    assert mappings.path("severity").parent == tmp_path
    assert mappings.table("course") == packaged.table("course")
    assert mappings.names == packaged.names


def test_every_table_is_checked(own):
    Mappings.read().check()
    wrong = own("system = ", "tests")
    with pytest.raises(MappingError, match=r"tests\.toml, line 1: Invalid value"):
        wrong.check()


def test_the_fingerprint_follows_every_byte_in_effect(own):
    packaged = Mappings.read()
    assert re.fullmatch("[0-9a-f]{64}", packaged.fingerprint)
    text = packaged.path("severity").read_text(encoding="utf-8")
    assert own(text) == packaged
    assert own(text).fingerprint == packaged.fingerprint
    assert own(text + "\n").fingerprint != packaged.fingerprint
    with pytest.raises(MappingError, match=r"'.*severities\.toml' replaces no mapping file; known are allergies\.toml"):
        own("", "severities")


def test_what_was_read_counts_and_travels(own, tmp_path):
    mappings = own('system = "mine"')
    (tmp_path / "severity.toml").write_text('system = "changed"', encoding="utf-8")
    again = pickle.loads(pickle.dumps(mappings))
    (tmp_path / "severity.toml").unlink()
    assert again == mappings
    assert again.table("severity") == mappings.table("severity") == {"system": "mine"}
    assert again.table("severity") is again.table("severity"), "parsed once"
    assert Mappings.read() is Mappings.read()


def test_no_stage_changes_a_table():
    mappings = Mappings.read("us-core")
    mappings.check()
    before = copy.deepcopy({name: mappings.table(name) for name in mappings.names})
    linker, _ = load_linker(mappings=mappings)
    Normalizer(mappings, linker)
    load_rules(mappings)
    assert {name: mappings.table(name) for name in mappings.names} == before


def test_the_module_imports_nothing_heavy():
    code = (
        "import sys; before = set(sys.modules); import kiwi_fhir.tables; "
        "print(' '.join(m for m in set(sys.modules) - before if m.split('.')[0] == 'kiwi_fhir'))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert set(run.stdout.split()) <= {
        "kiwi_fhir",
        "kiwi_fhir.tables",
        "kiwi_fhir.tables.mappings",
        "kiwi_fhir.tables.overrides",
        "kiwi_fhir.tables.schema",
        "kiwi_fhir.errors",
    }
