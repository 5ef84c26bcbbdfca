"""What a code of a test says of it: its category, the kind of result that it asks for, and the code of other results.

LOINC names the property of what is measured: of creatinine in umol/L, 2160-0 [Mass/volume] would be a wrong code.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Literal

from kiwi_fhir.normalize.terminology.codes import CODES
from kiwi_fhir.tables import Mappings
from kiwi_fhir.types import Coding, Fact, Interval, LabValue, Quantity, Ratio

Category = Literal["laboratory", "vital-signs"]

_TABLE = "codes_test"
_BRACKETS = re.compile(r"\[([^\]]+)\]")
_DIGIT = re.compile(r"\d")
_WORDS = re.compile(r"[a-z]+")
_TITRE = "{titer}"  # of UCUM


@dataclass(frozen=True, slots=True)
class Properties:
    """[properties] of codes_test.toml, by code where an entry has a property of its own.

    `units` gives the UCUM units of a property's results, none where they are words; `instead` the codes of the same
    test for other results; `levels` words that say of any quantity how it is; `categories` the category by code.
    """

    system: str
    units: Mapping[str, frozenset[str]]
    own: Mapping[str, str]
    instead: Mapping[str, tuple[Coding, ...]]
    levels: frozenset[str]
    categories: Mapping[str, Category]

    def category(self, codings: Iterable[Coding]) -> Category | None:
        """The category of a test with these codings."""
        found = (self.categories.get(coding.code or "") for coding in codings if coding.system == self.system)
        return next((item for item in found if item is not None), None)

    def misfit(self, fact: Fact) -> Coding | None:
        """The first coding of a test that does not fit its results; None where all do."""
        if not fact.values and not fact.negative_finding:
            return None
        return next((coding for coding in fact.codings if not self._fits(coding, fact)), None)

    def other(self, wrong: Coding, fact: Fact) -> Coding | None:
        """The code that the results of `fact` have in place of `wrong`, where there is one."""
        for coding in self.instead.get(wrong.code or "", ()):
            if self._fits(coding, fact):
                return replace(coding, method=wrong.method, score=wrong.score)
        return None

    def _fits(self, coding: Coding, fact: Fact) -> bool:
        units = self._units_of(coding) if coding.system == self.system else None
        if units is None:
            return True
        if units and fact.negative_finding:
            return False
        return all(self._takes(units, value) for value in fact.values)

    def _units_of(self, coding: Coding) -> frozenset[str] | None:
        """The units of a code's results; None where its property is not known."""
        name = self.own.get(coding.code or "")
        if name is None:
            found = _BRACKETS.search(coding.display)
            name = found[1] if found is not None else ""
        return self.units.get(name)

    def _takes(self, units: frozenset[str], value: LabValue) -> bool:
        """Whether a property of these units has such a result. A number without a (known) unit fits any."""
        found = value.value
        if isinstance(found, Ratio):
            return _TITRE in units
        if isinstance(found, Quantity):
            return found.code is None or found.code in units
        if isinstance(found, Interval):
            return all(end is None or end.code is None or end.code in units for end in (found.low, found.high))
        if found is not None or not units:
            return True
        if value.is_scale:
            return False
        said = value.text.lower()
        judged = value.interpretation is not None or not self.levels.isdisjoint(_WORDS.findall(said))
        return judged or _DIGIT.search(said) is not None


def load_properties(mappings: Mappings) -> Properties:
    """The properties of codes_test.toml.

    Raises MappingError naming file, line and key for a property that is not there, and for a code of `instead` that
    has none: it would take every result.
    """
    table = mappings.table(_TABLE, CODES)
    units = {name: frozenset(listed) for name, listed in table.get("properties", {}).items()}
    entries = table.get("codes", {})
    own = {code: entry["property"] for code, entry in entries.items() if "property" in entry}
    for code, name in own.items():
        if name not in units:
            problem = f"'{name}' is not under [properties]; known are {', '.join(units)}"
            mappings.refuse(_TABLE, ("codes", code, "property"), problem)
    found = Properties(
        system=table["system"],
        units=units,
        own=own,
        instead={
            code: tuple(Coding(table["system"], other, display) for other, display in entry["instead"].items())
            for code, entry in entries.items()
            if "instead" in entry
        },
        levels=frozenset(table.get("levels", ())),
        categories={code: entry["category"] for code, entry in entries.items() if "category" in entry},
    )
    for code, others in found.instead.items():
        for other in others:
            if found._units_of(other) is None:
                problem = "names no property of [properties]: give it one in an entry of its own"
                mappings.refuse(_TABLE, ("codes", code, "instead", other.code or ""), problem)
    return found
