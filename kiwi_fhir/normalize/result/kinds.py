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
from kiwi_fhir.types import Mention

Category = Literal["laboratory", "vital-signs"]
#: What a column of a table may hold, in the order in which the words of its head decide: "normal value" is a range.
Role = Literal["normal", "unit", "flag", "earlier", "value", "name"]
ROLES: tuple[Role, ...] = get_args(Role)

_LISTS = (
    "vital-signs",
    "laboratory",
    "panels",
    "extremes",
    "dosed",
    "blood-pressure",
    "signed",
    "in-litres",
    "in-seconds",
    "in-fluids",
)
_SCHEMA: dict[str, Schema] = {
    **{name: ListOf(str) for name in ("fillers", *_LISTS)},
    "findings": ListOf(str),
    "examined": ListOf(str),
    "rows": ListOf(str),
    "fluids": ListOf(str),
    "dosed-sections": ListOf(str),
    "aims": ListOf(str),
    "columns": {role: ListOf(str) for role in ROLES},
}
_LEADS = (
    r"(?:\s+(?:studies|analysis|results?|microscopy|dip|dipstick|exam))?\s*"
    r"(?::|\(|\b(?:show(?:s|ed|ing)|with|reveal(?:s|ed)|demonstrated|ha[sd]"
    r"|(?:was |were )?(?:significant|remarkable|notable|positive) for)\b)"
)
_BLOOD = re.compile(r"\b(?:serum|cbc|chem\w*|bmp|cmp|labs?|blood (?:work|tests?|counts?|cultures?|glucose))\b")
_LONGEST_LIST, _LONGEST_NAME = 300, 40  # characters
_SHORT = 4  # letters of a symbol: "iCa", "Phos"
# A number without the unit of a dose; "Mg" before another number is the next test.
_BARE_NUMBER = re.compile(
    r"[ \t]{0,3}[:=]?[ \t]{0,3}[<>]?\d{1,6}(?:\.\d{1,4})?(?![\d./%])"
    r"(?!\s{0,3}(?:mg|mcg|ug|g|gm|gms|grams?|meq|mEq|mmol|units?|tabs?|tablets?|caps?|ml|mL|po|PO|iv|IV|x|MG|MEQ|G|GM)\b)"
)
_REACH = 40  # characters before a test or a number in which a word of `aims` stands


@dataclass(frozen=True, slots=True)
class Kind:
    """What is known of a test; `name` is its words, compared as all phrases are.

    `panel`: a number is none of its results. `extremes`: numbers in brackets are the lowest and highest that were seen.
    `dosed`: it is taken too. `blood_pressure`: "120/80" is systolic over diastolic. `signed`: it may be below zero.
    `in_litres`: its "2.5 L" is litres. `in_seconds`: its "30s" may be seconds. `in_fluids`: other fluids than blood
    have it too. `examined`: looked for by eye, hand or ear, so "2+" is only a grade. `finding`: its negation is its
    result. `aimed`: its number is one to be reached, or a dose.
    """

    name: str = ""
    category: Category | None = None
    panel: bool = False
    extremes: bool = False
    dosed: bool = False
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

    `names` finds tests in a row of results (lower case), `framed` those of MIMIC's form ("Plt Ct-250"; the words of a
    result in `word`), `fluids` what leads a list of those of another fluid than blood. In the sections `dosed` a number
    may be a dose. `columns` holds the words that head the columns of tables, `aims` finds those of a number that is
    aimed at.
    """

    lists: Mapping[str, frozenset[str]]
    fillers: frozenset[str]
    findings: frozenset[str]
    examined: frozenset[str]
    names: re.Pattern[str]
    framed: re.Pattern[str]
    fluids: re.Pattern[str]
    dosed: frozenset[str]
    columns: Mapping[Role, frozenset[str]]
    aims: re.Pattern[str]
    kept: Kept[str, Kind] = field(default_factory=Kept, compare=False, repr=False)

    def kind(self, text: str) -> Kind:
        """What is known of the test that `text` (any case) names."""
        return self.kept.get(text) or self.kept.keep(text, self._kind(text))

    def retold(self, text: str, mention: Mention) -> Mention:
        """`mention`, as a test where a drug's short name stands before a bare number ("Ca 8.4 Mg 1.6")."""
        words = mention.span.of(text)
        if mention.label != "drug" or len(words) > _SHORT or not _BARE_NUMBER.match(text, mention.span.end):
            return mention
        kind = self.kind(words)
        if kind.category != "laboratory" or not kind.dosed:
            return mention
        return Mention("test", mention.span, score=mention.score, section=mention.section)

    def is_aimed(self, text: str, start: int) -> bool:
        """Whether the words right before `start` say that what begins there is aimed at ("goal INR 2-3")."""
        return self.aims.search(text[max(0, start - _REACH) : start].lower()) is not None

    def heads_column(self, text: str, *, in_table: bool) -> bool:
        """Whether words only head a column of results and name no test: "Range", and `in_table` also "Component"."""
        words = set(plain(text).split(" "))
        return any(words <= self.columns[role] for role in (ROLES if in_table else ("normal", "unit", "flag")))

    def is_of_fluid(self, text: str, start: int, end: int) -> bool:
        """Whether a test at `end` stands in a list of another fluid than blood that begins behind `start`."""
        low = max(start, end - _LONGEST_LIST)
        leads = [found.end() for found in self.fluids.finditer(text, low, end + _LONGEST_NAME) if found.end() <= end]
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
            extremes="extremes" in listed,
            dosed="dosed" in listed,
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
        names=re.compile(rf"{any_of(known)}(?=[^a-z\n]{{1,30}}?\d)"),
        framed=re.compile(
            rf"(?<![\w-])(?P<name>(?i:{any_of(name for name in known if ' ' in name)})"
            r"|[A-Za-z%][\w()/%]*(?:-[A-Za-z]\w*)?)-(?:(?=-?[.\d<>])|(?P<word>[A-Z]{2,}\b))"
        ),
        fluids=re.compile(rf"{any_of(table['fluids'])}(?:{_LEADS}|(?=\s+{any_of(table['in-fluids'])}))"),
        fillers=frozenset(table["fillers"]),
        findings=frozenset(table["findings"]),
        examined=frozenset(table["examined"]),
        dosed=frozenset(table["dosed-sections"]),
        columns={role: frozenset(table["columns"][role]) for role in ROLES},
        aims=re.compile(rf"{any_of(table['aims'])}(?:\s+(?:of|is|was|at|for|between|a|an|the|her|his))*[\s:<>=~]*\Z"),
    )
