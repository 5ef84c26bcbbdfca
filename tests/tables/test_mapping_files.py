"""Mapping files: what is read, what is refused and where, what a fingerprint sees."""

import re
import subprocess
import sys

import pytest

from kiwi_fhir.errors import MappingError
from kiwi_fhir.tables import ListOf, MapOf, OneOf, fingerprint, load_table, refuse, table_path

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
    def put(text, name="own"):
        (tmp_path / f"{name}.toml").write_text(text, encoding="utf-8")
        return tmp_path

    return put


def test_a_good_table_is_read_as_it_is(own):
    assert load_table("own", own(GOOD), SCHEMA) == {
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
        load_table("own", own(GOOD.replace(old, new, 1)), SCHEMA)
    found = re.search(r"own\.toml, line (\d+): (.*)", str(error.value))
    assert found is not None
    assert says in found[2]
    assert int(found[1]) == line


def test_a_line_is_found_in_arrays_of_tables_and_past_multi_line_text(own):
    text = 'text = """\n[rule]\nname = 1\n"""\n[[rule]]\nname = "a"\n[[rule]]\nname = 2\n'
    with pytest.raises(MappingError, match=r"line 8: key 'rule\[1\]\.name'"):
        load_table("own", own(text), {"text": str, "rule": ListOf({"name": str})})


def test_refuse_names_the_line_too(own):
    with pytest.raises(MappingError, match=r"own\.toml, line 6: key 'codes\.a': stands twice\."):
        refuse("own", "codes.a", "stands twice", own(GOOD))


def test_missing_and_unreadable_files_are_mapping_errors(tmp_path):
    with pytest.raises(MappingError, match=r"'.*nowhere\.toml' does not exist"):
        load_table("nowhere", tmp_path)
    (tmp_path / "own.toml").write_bytes(b'a = "\xff"')
    with pytest.raises(MappingError, match="is not UTF-8"):
        load_table("own", tmp_path)


def test_a_folder_replaces_files_one_by_one(own):
    folder = own('system = "mine"', "severity")
    assert load_table("severity", folder) == {"system": "mine"}
    assert table_path("severity", folder).parent == folder
    assert load_table("course", folder) == load_table("course")


def test_the_fingerprint_follows_every_byte_in_effect(own):
    packaged = fingerprint()
    assert re.fullmatch("[0-9a-f]{64}", packaged)
    folder = own(table_path("severity").read_text(encoding="utf-8"), "severity")
    assert fingerprint(folder) == packaged
    own(table_path("severity").read_text(encoding="utf-8") + "\n", "severity")
    assert fingerprint(folder) != packaged
    with pytest.raises(MappingError, match=r"'.*severities\.toml' replaces no mapping file; known are allergies\.toml"):
        fingerprint(own("", "severities"))


def test_the_module_imports_nothing_heavy():
    code = (
        "import sys; before = set(sys.modules); import kiwi_fhir.tables; "
        "print(' '.join(m for m in set(sys.modules) - before if m.split('.')[0] == 'kiwi_fhir'))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert set(run.stdout.split()) <= {
        "kiwi_fhir",
        "kiwi_fhir.tables",
        "kiwi_fhir.tables.overrides",
        "kiwi_fhir.errors",
    }
