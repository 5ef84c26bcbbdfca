"""What tests.toml knows of a test by its name, and what that means for its results."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, get_args

from kiwi_fhir.normalize.text.kept import Kept
from kiwi_fhir.normalize.text.trie import any_of
from kiwi_fhir.normalize.text.words import plain
from kiwi_fhir.tables import ListOf, Mappings, Schema

Category = Literal["laboratory", "vital-signs"]
#: What a column of a table may hold, in the order in which the words of its head decide: "normal value" is a range.
Role = Literal["normal", "unit", "flag", "earlier", "value"]
ROLES: tuple[Role, ...] = get_args(Role)

_LISTS = ("vital-signs", "laboratory", "panels", "blood-pressure", "signed", "in-litres", "in-seconds", "in-fluids")
_SCHEMA: dict[str, Schema] = {
    **{name: ListOf(str) for name in ("fillers", *_LISTS)},
    "findings": ListOf(str),
    "examined": ListOf(str),
    "rows": ListOf(str),
    "fluids": ListOf(str),
    "aims": ListOf(str),
    "columns": {role: ListOf(str) for role in ROLES},
}
_LEADS = (
    r"(?:\s+(?:studies|analysis|results?|microscopy|dip|dipstick|exam))?\s*"
    r"(?::|\(|\b(?:show(?:s|ed|ing)|with|reveal(?:s|ed)|demonstrated|ha[sd]"
    r"|(?:was |were )?(?:significant|remarkable|notable|positive) for)\b)"
)
_BLOOD = re.compile(r"\b(?:blood|serum|cbc|chem\w*|bmp|cmp|labs?)\b")
_LONGEST_LIST = 300  # characters
_REACH = 40  # characters before a test or a number in which a word of `aims` stands


@dataclass(frozen=True, slots=True)
class Kind:
    """What is known of a test; `name` is its words, compared as all phrases are.

    `panel`: a number is none of its results. `blood_pressure`: "120/80" is systolic over diastolic. `signed`: it may be
    below zero. `in_litres`: its "2.5 L" is litres. `in_seconds`: its "30s" may be seconds. `in_fluids`: other fluids
    than blood have it too. `examined`: looked for by eye, hand or ear, so "2+" is only a grade. `finding`: its negation
    is its result. `aimed`: its number is one to be reached.
    """

    name: str = ""
    category: Category | None = None
    panel: bool = False
    blood_pressure: bool = False
    signed: bool = False
    in_litres: bool = False
    in_seconds: bool = False
    in_fluids: bool = False
    examined: bool = False
    finding: bool = False
    aimed: bool = False


UNKNOWN = Kind()


@dataclass(frozen=True, slots=True)
class Tests:
    """tests.toml: `lists` holds its phrases by list, `findings` and `examined` single words.

    `names` finds tests in a row of results (lower case), `fluids` what leads a list of those of another fluid than
    blood. `columns` holds the words that head the columns of tables, `aims` finds those of a number that is aimed at.
    """

    lists: Mapping[str, frozenset[str]]
    fillers: frozenset[str]
    findings: frozenset[str]
    examined: frozenset[str]
    names: re.Pattern[str]
    fluids: re.Pattern[str]
    columns: Mapping[Role, frozenset[str]]
    aims: re.Pattern[str]
    kept: Kept[str, Kind] = field(default_factory=Kept, compare=False, repr=False)

    def kind(self, text: str) -> Kind:
        """What is known of the test that `text` (any case) names."""
        return self.kept.get(text) or self.kept.keep(text, self._kind(text))

    def is_aimed(self, text: str, start: int) -> bool:
        """Whether the words right before `start` say that what begins there is aimed at ("goal INR 2-3")."""
        return self.aims.search(text[max(0, start - _REACH) : start].lower()) is not None

    def is_of_fluid(self, text: str, start: int, end: int) -> bool:
        """Whether a test at `end` stands in a list of another fluid than blood that begins behind `start`."""
        leads = [found.end() for found in self.fluids.finditer(text, max(start, end - _LONGEST_LIST), end)]
        return bool(leads) and _BLOOD.search(text, leads[-1], end) is None

    def _kind(self, text: str) -> Kind:
        name = plain(text)
        words = name.split(" ")
        phrases = {name, " ".join(word for word in words if word not in self.fillers)}
        listed = {kind for kind, known in self.lists.items() if not phrases.isdisjoint(known)}
        return Kind(
            name=name,
            category="vital-signs" if "vital-signs" in listed else "laboratory" if "laboratory" in listed else None,
            panel="panels" in listed,
            blood_pressure="blood-pressure" in listed,
            signed="signed" in listed,
            in_litres="in-litres" in listed,
            in_seconds="in-seconds" in listed,
            in_fluids="in-fluids" in listed,
            examined=not self.examined.isdisjoint(words),
            finding=not self.findings.isdisjoint(words),
        )


def load_tests(mappings: Mappings) -> Tests:
    """tests.toml. Raises MappingError."""
    table = mappings.table("tests", _SCHEMA)
    known = {*table["laboratory"], *table["vital-signs"], *table["rows"]} - set(table["panels"])
    return Tests(
        lists={name: frozenset(plain(phrase) for phrase in table[name]) for name in _LISTS},
        names=re.compile(rf"{any_of(known)}(?=[^a-z\n]{{1,12}}?\d)"),
        fluids=re.compile(rf"{any_of(table['fluids'])}{_LEADS}"),
        fillers=frozenset(table["fillers"]),
        findings=frozenset(table["findings"]),
        examined=frozenset(table["examined"]),
        columns={role: frozenset(table["columns"][role]) for role in ROLES},
        aims=re.compile(rf"{any_of(table['aims'])}(?:\s+(?:of|is|was|at|for|between|a|an|the|her|his))*[\s:<>=~]*\Z"),
    )
