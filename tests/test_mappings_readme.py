"""The examples of mappings/README.md: what the page says comes out of a note comes out of it."""

import json
import re
import sys
from decimal import Decimal
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent / "normalize"))

from kiwi_fhir.extract.segment import segment
from kiwi_fhir.fhir import BundleWriter, ModelInfo, check_bundle, to_json
from kiwi_fhir.fhir.rules import ELEMENTS
from kiwi_fhir.normalize import Normalizer
from kiwi_fhir.normalize.terminology import load_linker
from kiwi_fhir.tables import Mappings
from kiwi_fhir.tables.overrides import packaged
from kiwi_fhir.types import (
    ALLOWED_PAIRS,
    MENTION_LABELS,
    MODIFIER_LABELS,
    Document,
    Mention,
    ModelId,
    Modifier,
    Note,
    Span,
)

README = (packaged() / "README.md").read_text(encoding="utf-8")
_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$|^#+ ([^\n]*)$", re.MULTILINE | re.DOTALL)
_MARK = re.compile(r"\[|\]\((\w+)\)")


def examples():
    """(heading and number, overrides, vocabulary, note, JSON) of every example."""
    found, heading, overrides, names, note = [], "", "", "", None
    for kind, body, title in _BLOCK.findall(README):
        if title:
            assert note is None, f"{heading}: a note without its json"
            heading, overrides, names, count = title, "", "", 0
        elif kind == "toml":
            overrides = body
        elif kind == "csv":
            names = body
        elif kind == "note":
            note = body
        elif kind == "json":
            count += 1
            found.append(pytest.param(overrides, names, note, body, id=f"{heading} {count}"))
            overrides, names, note = "", "", None
    return found


def document(marked, mappings=None):
    """The document that a marked note is: modifiers go to every mention of their line that allows them."""
    text, open_marks, spans, at = "", [], [], 0
    for mark in _MARK.finditer(marked):
        text += marked[at : mark.start()]
        at = mark.end()
        if mark[1] is None:
            open_marks.append(len(text))
        else:
            spans.append((Span(open_marks.pop(), len(text)), mark[1]))
    text += marked[at:]
    assert not open_marks
    structure = segment(text, mappings).structure
    mentions = []
    for span, label in sorted(spans):
        assert label in (*MENTION_LABELS, *MODIFIER_LABELS), label
        if label in MENTION_LABELS:
            near = [Modifier(kind, other) for other, kind in sorted(spans) if _line(text, other) == _line(text, span)]
            held = tuple(modifier for modifier in near if modifier.label in ALLOWED_PAIRS[label])
            mentions.append(Mention(label, span, held, section=structure.kind_at(span.start)))
    note = Note("example", text, patient_id="p1", time="2011-03-05")
    return Document(note, tuple(mentions))


def _line(text, span):
    return text.count("\n", 0, span.start)


@pytest.fixture(scope="module")
def linker():
    return load_linker()[0]


@pytest.mark.parametrize(("overrides", "names", "note", "expected"), examples())
def test_the_page_is_right(tmp_path, linker, overrides, names, note, expected):
    mappings = Mappings.read()
    if overrides:
        path = tmp_path / "overrides.toml"
        path.write_text(overrides, encoding="utf-8")
        mappings = Mappings.read(path)
        if "codes_" in overrides:  # half a second each
            linker = load_linker(mappings=mappings)[0]
    if names:
        vocabulary = tmp_path / "names.csv"
        vocabulary.write_text(names, encoding="utf-8")
        linker = load_linker(str(vocabulary), mappings=mappings)[0]
    normalizer = Normalizer(mappings, linker)
    model = ModelInfo(ModelId("readme", "1"), "0")
    writer = BundleWriter(model, recorded="2011-03-05T00:00:00Z", mappings=mappings)
    read = document(note, mappings)
    bundle, failures = writer.bundle(read, normalizer.facts(read))
    assert failures == []
    assert check_bundle(bundle) == []
    resources = [entry["resource"] for entry in json.loads(to_json(bundle), parse_float=Decimal).get("entry", [])]
    found = [resource for resource in resources if resource["resourceType"] != "Provenance"]
    wanted = json.loads(expected, parse_float=Decimal)
    wanted = wanted if isinstance(wanted, list) else [wanted]
    assert [resource["resourceType"] for resource in found] == [resource["resourceType"] for resource in wanted]
    for resource, part in zip(found, wanted, strict=True):
        assert_holds(resource, part, resource["resourceType"])


def assert_holds(found, wanted, path):
    """`found` has all of `wanted`; null is what must not be there; lists are compared item by item."""
    if isinstance(wanted, dict):
        assert isinstance(found, dict), path
        for key, value in wanted.items():
            if value is None:
                assert key not in found, f"{path}.{key}"
            else:
                assert key in found, f"{path}.{key}: {found}"
                assert_holds(found[key], value, f"{path}.{key}")
    elif isinstance(wanted, list):
        assert isinstance(found, list), path
        assert len(found) == len(wanted), f"{path}: {found}"
        for index, item in enumerate(wanted):
            assert_holds(found[index], item, f"{path}[{index}]")
    else:
        assert (found, str(found)) == (wanted, str(wanted)), path


def test_what_the_page_says_of_fuzzy(tmp_path):
    (names,) = (example.values[1] for example in examples() if example.values[1])
    (tmp_path / "names.csv").write_text(names, encoding="utf-8")
    linker = load_linker(str(tmp_path / "names.csv"), fuzzy=True)[0]
    (fact,) = Normalizer(None, linker).facts(document("[harbor fever](problem)"))
    assert [(coding.code, coding.method) for coding in fact.codings] == [("F77", "fuzzy")]


def test_overrides_that_stand_alone_are_right(tmp_path):
    for number, (kind, body, _) in enumerate(_BLOCK.findall(README)):
        if kind == "toml":
            path = tmp_path / f"{number}.toml"
            path.write_text(body, encoding="utf-8")
            mappings = Mappings.read(path)
            Normalizer(mappings)
            BundleWriter(ModelInfo(ModelId("readme", "1"), "0"), recorded="2011-03-05T00:00:00Z", mappings=mappings)
            assert mappings != Mappings.read()


def test_every_pair_every_choice_and_every_file_is_explained():
    shown = set()
    for example in examples():
        for mention in document(example.values[2]).mentions:
            shown |= {(mention.label, modifier.label) for modifier in mention.modifiers}
    assert {(mention, modifier) for mention in ELEMENTS for modifier in ELEMENTS[mention]} <= shown
    for name in Mappings.read().names:
        assert f"`{name}.toml`" in README or name.startswith("codes_"), name
    for table, choices in Mappings.read().table("fhir").items():
        if table != "elements":
            keys = [f"{table}.{key}" for key in choices] if isinstance(choices, dict) else [table]
            for key in keys:
                assert f"`{key}`" in README, key


def test_the_table_of_contents_leads_somewhere():
    anchors = {
        re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for *_, title in _BLOCK.findall(README) if title
    }
    links = re.findall(r"\]\(#([^)]+)\)", README)
    assert links
    assert set(links) <= anchors
