"""The code tables (codes_problem.toml ...): words and abbreviations to codes, looked up before any index."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal

from kiwi_fhir.normalize.terminology.names import key, phrases
from kiwi_fhir.tables import ListOf, MapOf, Mappings, OneOf, Schema
from kiwi_fhir.types import MENTION_LABELS, Coding, MentionLabel

#: The schema of a code table; `properties`, `levels`, `category`, `property`, `instead` and `written` are of tests,
#: `courses` and `symptoms` of problems.
CODES: dict[str, Schema] = {
    "system": str,
    "notice?": str,
    "fillers?": ListOf(str),
    "uncoded?": ListOf(str),
    "inverted?": ListOf(str),
    "courses?": ListOf(str),
    "symptoms?": ListOf(str),
    "levels?": ListOf(str),
    "properties?": MapOf(ListOf(str)),
    "codes?": MapOf(
        {
            "display": str,
            "words": ListOf(str),
            "abbreviations?": ListOf(str),
            "written?": ListOf(str),
            "category?": OneOf(("laboratory", "vital-signs")),
            "property?": str,
            "instead?": MapOf(str),
        }
    ),
    "ambiguous?": MapOf({"codes": ListOf(str), "sections?": MapOf(str), "number?": str}),
}

Method = Literal["table", "abbreviation"]


@dataclass(frozen=True, slots=True)
class Ambiguous:
    """An abbreviation with several meanings: the candidates' words by code, and the code by kind of section.

    `number` is the code where a number stands beside it.
    """

    long_forms: Mapping[str, frozenset[str]]
    sections: Mapping[str, str]
    number: str | None = None


@dataclass(frozen=True, slots=True)
class CodeTable:
    """A code table by keys (`names.key`).

    `fillers` are what may be left out: first all but the sides, then sides too; each begins with one of
    `filler_starts`. `words` holds the words of the phrases, for spelling. `written` are names that count as they
    stand, in lower case and without spaces. `beginnings` are what longer names begin with (of tests, names with
    figures), `inverted` finds what belongs to the name before a comma. `courses` may be left out where they begin the
    name of a symptom, whose code begins with one of `symptoms`.
    """

    codings: Mapping[str, Coding] = field(default_factory=dict)
    found: Mapping[str, tuple[str, Method]] = field(default_factory=dict)
    ambiguous: Mapping[str, Ambiguous] = field(default_factory=dict)
    uncoded: frozenset[str] = frozenset()
    fillers: tuple[re.Pattern[str], ...] = ()
    filler_starts: frozenset[str] = frozenset()
    words: frozenset[str] = frozenset()
    written: Mapping[str, str] = field(default_factory=dict)
    beginnings: frozenset[str] = frozenset()
    inverted: re.Pattern[str] | None = None
    courses: frozenset[str] = frozenset()
    symptoms: tuple[str, ...] = ()


def load_codes(mappings: Mappings, sides: frozenset[str] = frozenset()) -> dict[MentionLabel, CodeTable]:
    """The code table of each label.

    Raises MappingError naming file, line and key for a file that does not fit, and for a phrase with two meanings.
    """
    return {label: _load(f"codes_{label}", mappings, sides) for label in MENTION_LABELS}


def _load(name: str, mappings: Mappings, sides: frozenset[str]) -> CodeTable:
    table = mappings.table(name, CODES)
    entries = table.get("codes", {})
    places: dict[str, tuple[str, ...]] = {}

    def claim(phrases_of: Iterable[str], *place: str) -> list[str]:
        keys = []
        for phrase in phrases_of:
            item = key(phrase)
            if not item:
                mappings.refuse(name, place, f"'{phrase}' holds no word")
            if places.setdefault(item, place) != place:
                problem = f"'{phrase}' stands under '{'.'.join(places[item])}' too; keep one of them"
                mappings.refuse(name, place, problem, places[item])
            keys.append(item)
        return keys

    uncoded = frozenset(claim(table.get("uncoded", ()), "uncoded"))
    found: dict[str, tuple[str, Method]] = {}
    long_forms: dict[str, frozenset[str]] = {}
    for code, entry in entries.items():
        words = claim(entry["words"], "codes", code)
        found.update((item, (code, "table")) for item in words)
        for item in claim(entry.get("abbreviations", ()), "codes", code):
            found.setdefault(item, (code, "abbreviation"))
        long_forms[code] = frozenset([*words, key(entry["display"])])
    ambiguous: dict[str, Ambiguous] = {}
    for short, entry in table.get("ambiguous", {}).items():
        place = ("ambiguous", short)
        (item,) = claim([short], *place)
        sections = entry.get("sections", {})
        number = entry.get("number")
        for code in (*entry["codes"], *sections.values(), *filter(None, [number])):
            if code not in entries:
                mappings.refuse(name, place, f"the code '{code}' is not under [codes]")
        ambiguous[item] = Ambiguous({code: long_forms[code] - {item} for code in entry["codes"]}, sections, number)
    for code, entry in entries.items():  # a display is a name too, where nothing else is called so
        if (shown := key(entry["display"])) and places.setdefault(shown, ("codes", code)) == ("codes", code):
            found.setdefault(shown, (code, "table"))
    fillers = {key(word) for word in table.get("fillers", ())} - {""}
    known = mappings.table("sections") if ambiguous else {}
    for short, entry in table.get("ambiguous", {}).items():
        for kind in entry.get("sections", {}):
            if kind not in known:
                problem = f"'{kind}' is no kind of section; known are {', '.join(known)}"
                mappings.refuse(name, ("ambiguous", short), problem)
    return CodeTable(
        codings={code: Coding(table["system"], code, entry["display"]) for code, entry in entries.items()},
        found=found,
        ambiguous=ambiguous,
        uncoded=uncoded,
        filler_starts=frozenset(item.split(" ")[0] for item in fillers),
        fillers=tuple(item for item in (phrases(fillers - sides), phrases(fillers)) if item is not None),
        words=frozenset(word for item in (*found, *ambiguous, *uncoded) for word in item.split(" ")),
        written={as_written(words): code for code, entry in entries.items() for words in entry.get("written", ())},
        beginnings=frozenset(_beginnings(_longer_names(name, found, uncoded))),
        inverted=_inverted(table.get("inverted", ())),
        courses=frozenset(map(key, table.get("courses", ()))),
        symptoms=tuple(table.get("symptoms", ())),
    )


def as_written(words: str) -> str:
    """Words as `CodeTable.written` has them."""
    return "".join(words.lower().split())


def _longer_names(name: str, found: Iterable[str], uncoded: Iterable[str]) -> Iterable[str]:
    """The names that a mention may be the beginning of; "blood" before "pressure" is for the model to know."""
    if name == "codes_drug":
        return (*found, *uncoded)
    return (item for item in found if name == "codes_test" and not item.isalpha() and any(map(str.isdigit, item)))


def _beginnings(names: Iterable[str]) -> Iterator[str]:
    """The words that each name begins with, all but the last."""
    for name in names:
        at = name.find(" ")
        while at > 0:
            yield name[:at]
            at = name.find(" ", at + 1)


def _inverted(phrases_of: Iterable[str]) -> re.Pattern[str] | None:
    any_of = "|".join(re.escape(item) for item in sorted(phrases_of, key=lambda item: (-len(item), item)))
    return re.compile(rf"(?:{any_of})\b", re.IGNORECASE) if any_of else None
