"""What a unit of a drug's product holds: `20 mg`, `10 mg/mL`, `5/325 mg` of two ingredients."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from kiwi_fhir.normalize.result.quantity import Units
from kiwi_fhir.normalize.text.numbers import DIGITS, read_digits
from kiwi_fhir.normalize.text.words import plain
from kiwi_fhir.types import Interval, Quantity, Ratio

_PART = re.compile(rf"(?P<value>{DIGITS})\s?(?P<unit>[a-zµμ%]+)?", re.IGNORECASE)
_JOINT = re.compile(r"\s?([/–-])\s?")
_SOLIDS = frozenset({"g", "mg", "ug", "meq", "[iU]", "%"})
_FRACTIONS = ("1/2", "1/4", "3/4")
_NAMES = re.compile(r"[a-z]{3,}\s?(?:[/+&-]|\band\b|\bwith\b)\s?[a-z]{3,}")
# A range of doses may be this wide. What is much wider, or falls, is two strengths: "5-325 mg", "50-12.5 mg".
_WIDEST, _TOO_WIDE = 4, 20
_LONGEST = 60


@dataclass(frozen=True, slots=True)
class Strength:
    """One amount, or those of several ingredients; neither where the words can't be told."""

    amount: Quantity | Interval | Ratio | None = None
    combined: tuple[Quantity, ...] = ()


@dataclass(frozen=True, slots=True)
class Strengths:
    """Reads strengths; `combinations` are names of products of several ingredients (plain)."""

    units: Units
    combinations: re.Pattern[str]

    def read(self, text: str, drug: str) -> Strength:
        """The strength that `text` says of a product by the name of `drug`."""
        words = " ".join(text.split()).strip(" ,;").rstrip(" .,;")
        if len(words) > _LONGEST:
            return Strength()
        ratio = self.units.concentration(words)
        if ratio is not None:
            return Strength(ratio)
        parts, joint = self._parts(words)
        if parts and joint == "/":
            return Strength(combined=parts)
        if parts and not self._is_range(parts, drug):
            return self._joined(parts, drug)
        if parts:
            return Strength(Interval(parts[0], parts[1]))
        return Strength(self.units.amount(words))

    def _parts(self, words: str) -> tuple[tuple[Quantity, ...], str]:
        """The amounts of `5/325 mg`, `160 mg-800 mg`, in one way of joining, and that; none for other forms."""
        pieces = _JOINT.split(words)
        joints = set(pieces[1::2])
        found = [_PART.fullmatch(piece) for piece in pieces[::2]]
        if len(joints) != 1 or len(found) > 3 or words.startswith(_FRACTIONS):
            return (), ""
        unit = found[-1]["unit"] if found[-1] is not None else None
        amounts: list[Quantity] = []
        for part in found:
            own = (part["unit"] or unit) if part is not None else None
            value = read_digits(part["value"]) if part is not None else None
            code = self.units.code(own) if own else None
            if value is None or own is None or code not in _SOLIDS:
                return (), ""
            amounts.append(Quantity(value, own, code))
        return tuple(amounts), joints.pop().replace("–", "-")

    def _is_range(self, parts: tuple[Quantity, ...], drug: str) -> bool:
        low, high = parts[0], parts[-1]
        if len(parts) != 2 or low.code != high.code or not 0 < low.value < high.value <= low.value * _WIDEST:
            return False
        name = plain(drug)
        return not self.combinations.search(name) and not _NAMES.search(name)

    def _joined(self, parts: tuple[Quantity, ...], drug: str) -> Strength:
        """Amounts with hyphens that are no range: those of the ingredients where that is certain, else nothing."""
        falls = len(parts) == 2 and parts[0].value > parts[1].value and parts[0].code == parts[1].code
        apart = len(parts) == 2 and parts[1].value >= parts[0].value * _TOO_WIDE and parts[0].code == parts[1].code
        certain = falls or apart or self.combinations.search(plain(drug)) is not None
        return Strength(combined=parts) if certain else Strength()


def strengths_of(units: Units, combinations: Iterable[str]) -> Strengths:
    """`combinations` is that of dosing.toml."""
    words = "|".join(sorted((re.escape(plain(word)) for word in combinations), key=len, reverse=True))
    return Strengths(units, re.compile(rf"(?<!\w)(?:{words})(?!\w)" if words else r"(?!)"))
