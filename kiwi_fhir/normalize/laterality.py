"""Left, right or both of a body site: laterality.toml."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from kiwi_fhir.normalize.text.words import load_vocabulary, plain
from kiwi_fhir.tables import ListOf, Mappings
from kiwi_fhir.types import Coding, Mention, Modifier, Span, Term

_CUT = (" and", " or", " to", " than", " greater", " more", " worse", " less")


@dataclass(frozen=True, slots=True)
class Lateralities:
    """The phrases that name a side, those where it is only a name ("left ventricle"), and sided parts of the body."""

    sides: re.Pattern[str]
    codings: Mapping[str, Coding]
    named: re.Pattern[str]
    parts: re.Pattern[str]

    def site(self, text: str, mention: Mention) -> Mention:
        """A problem with the sided part that its own words name as its body site, where it has none."""
        if mention.label != "problem" or any(modifier.label == "bodyloc" for modifier in mention.modifiers):
            return mention
        found = self.parts.search(text, mention.span.start, mention.span.end)
        if found is None:
            return mention
        modifier = Modifier("bodyloc", Span(*found.span()), rule=True)
        modifiers = sorted((*mention.modifiers, modifier), key=lambda item: (item.span, item.label))
        return replace(mention, modifiers=tuple(modifiers))

    def find(self, text: str) -> Coding | None:
        """The one side that the words of a body site name."""
        site = plain(text)
        if len(site) == 1 or site.endswith(_CUT):  # "L" alone; "left and", before "right"
            return None
        found = {self.codings[side] for side in self.sides.findall(site)}
        return found.pop() if len(found) == 1 and not self.named.search(site) else None

    def add(self, sites: tuple[Term, ...]) -> tuple[Term, ...]:
        """The body sites with their laterality."""
        found = ((site, self.find(site.text)) for site in sites)
        return tuple(site if side is None else replace(site, laterality=side) for site, side in found)


def load_lateralities(mappings: Mappings) -> Lateralities:
    """laterality.toml. Raises MappingError."""
    vocabulary = load_vocabulary("laterality", mappings, {"named": ListOf(str), "parts": ListOf(str)})
    sides = {phrase: vocabulary.codings[code] for phrase, code in vocabulary.phrases.meanings.items()}
    table = mappings.table("laterality")
    part = "|".join(sorted(map(re.escape, table["parts"]), key=len, reverse=True))
    parts = re.compile(rf"{_any(sides).pattern}[ \t]+(?:{part})s?(?![\w/-])", re.IGNORECASE)
    return Lateralities(_any(sides), sides, _any(table["named"]), parts)


def _any(phrases: Iterable[str]) -> re.Pattern[str]:
    """One of `phrases` as whole words, the longest first."""
    words = "|".join(sorted((re.escape(phrase) for phrase in phrases), key=len, reverse=True))
    return re.compile(rf"(?<![\w/-])(?:{words})(?![\w/-])")
