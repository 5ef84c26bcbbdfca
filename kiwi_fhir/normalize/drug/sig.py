"""The words of a prescription, one after another: `5 mg`, `1½` before `tablets`, `po`, `2 to 3 times daily`.

A token is read only where all of it is understood and a dosage can say it. What is not read is no token.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice

from kiwi_fhir.normalize.drug.strength import Strengths
from kiwi_fhir.normalize.drug.timing import Frequencies
from kiwi_fhir.normalize.result.quantity import Units
from kiwi_fhir.normalize.text.numbers import NUMBER
from kiwi_fhir.normalize.text.trie import any_of
from kiwi_fhir.normalize.text.words import Vocabulary, plain
from kiwi_fhir.types import ModifierLabel, Quantity, Span

_LONGEST_FREQUENCY = 9  # words
_LONGEST_ROUTE = 4  # words
_REACH = 120  # characters: what is longer is no token
_JOINT = r"\s?(?:[/–-]|\bto\b|\bor\b)\s?"
_PER = r"\s?(?:/|\b(?:per|in|an?|every)\b)\s?(?:\d[\d.,]*\s?)?[A-Za-z]+"
_AMOUNT = re.compile(
    rf"(?P<number>{NUMBER}(?:{_JOINT}{NUMBER}){{0,2}})[\s-]?(?P<unit>[A-Za-zµμ%]+)(?P<per>(?:{_PER}){{0,2}})",
    re.IGNORECASE,
)
_COMBINED = re.compile(r"\d+(?:\.\d+)?/\d+(?:\.\d+)?(?![\w/.%])")  # Sinemet 25/100
_COUNT = re.compile(
    rf"(?P<number>{NUMBER}(?:\s?(?:[–-]|\bto\b|\bor\b)\s?{NUMBER})?)(?:\s?\(\s?{NUMBER}\s?\))?(?![\w/%]|\.\d)",
    re.IGNORECASE,
)
_DURATION = re.compile(
    rf"(?:(?:for|x|times)\s?(?:(?:the|next|another|a total of)\s)*{NUMBER}(?:\s?(?:-|to|or)\s?{NUMBER})?"
    r"(?:[\s-]?(?:more |additional )?[a-z]+)?|(?:an?\s)?\d+[\s-](?:day|week|month)(?:[\s-]long)?[\s-]course(?: of)?)",
    re.IGNORECASE,
)
_NOT_LASTING = re.compile(r"\s*(?:ago|prior|before|earlier|previously|old|post|after)\b", re.IGNORECASE)
_BARE_COUNT = re.compile(r"(?:1|one)\s(?!time|x\b)", re.IGNORECASE)  # "1 daily": one of them, daily
_OPEN_END = re.compile(r"\b(?:and|or|on|at)$", re.IGNORECASE)
_EACH = re.compile(r"\b(?:every|each|q|weekly|week)\b|days\b", re.IGNORECASE)
_WORD = re.compile(r"\S+")
_QUALIFIED = re.compile(r"\s+(?:(?:while|when|if)\s+(?:awake|asleep|eating)|except\b[^,;.]{0,20})", re.IGNORECASE)
_MARKS = re.compile(
    r"(?:->|=>|[→⇒]|[\s,:()\[\]–-]|(?:on\s+)?days?\s+\d+(?:\s?(?:-|to|through)\s?\d+)?(?!\w))*", re.IGNORECASE
)
_FIRST_WORDS = (
    "every each at up on one no max maximum half alternate weekly an a once twice thrice two three four five six seven "
    "eight ten twelve"
)
_FIGURE = re.compile(r"[\d½¼¾.]")
_MEASURES_THAT_ARE_WORDS = frozenset({"in", "a", "an", "am", "h"})  # "5 in the morning" are no inches
_NO_COUNT = frozenset({"a", "an", "once", "twice", "thrice", "single"})


@dataclass(frozen=True, slots=True)
class Token:
    """A part of a dosage, or (`label` None) words that are none: "dispense 20"."""

    label: ModifierLabel | None
    span: Span


@dataclass(frozen=True, slots=True)
class Sigs:
    """Reads tokens; `fillers` are words that may stand between two of them, `dispensed` what a pharmacy gives out."""

    units: Units
    strengths: Strengths
    frequencies: Frequencies
    routes: Vocabulary
    forms: re.Pattern[str]
    fillers: re.Pattern[str]
    dispensed: re.Pattern[str]
    first_of_frequency: frozenset[str]
    first_of_route: frozenset[str]
    counted: frozenset[str]

    def next(self, text: str, start: int, end: int, *, first: bool = False, counted: bool = False) -> Token | None:
        """The token behind marks, spaces and fillers."""
        at = marks_end(text, start, end)
        while at < end:
            token = self.token(text, at, end, first=first, counted=counted)
            filler = self.fillers.match(text, at, end) if token is None else None
            if filler is None:
                return token
            at = marks_end(text, filler.end(), end)
        return None

    def token(self, text: str, start: int, end: int, *, first: bool = False, counted: bool = False) -> Token | None:
        """The token at `start`, before `end`, the longest that there is.

        `first` says that it follows the drug's name, `counted` that a number or a strength stands right before it.
        """
        end = min(end, start + _REACH)
        dispensed = self.dispensed.match(text, start, end)
        if dispensed is not None:
            return Token(None, Span(*dispensed.span()))
        found = [self._duration(text, start, end), self._amount(text, start, end), self._frequency(text, start, end)]
        tokens = [token for token in found if token is not None]
        if tokens:
            return max(tokens, key=lambda token: token.span.end)
        combined = _COMBINED.match(text, start, end) if first else None
        if combined is not None:
            return Token("strength", Span(*combined.span()))
        form = self.forms.match(text, start, end) if counted else None
        if form is not None:
            return Token("form", Span(*form.span()))
        return self._count(text, start, end) or self._route(text, start, end)

    def _amount(self, text: str, start: int, end: int) -> Token | None:
        """`5 mg`, `.5-1 mg`, `10,000 units`, `5/325 mg`, `160 mg/5 mL`, `0.1 U/kg/h`: not what is counted."""
        found = _AMOUNT.match(text, start, end)
        if found is None or found["unit"].lower() in _MEASURES_THAT_ARE_WORDS or plain(found["number"]) in _NO_COUNT:
            return None
        if self.units.doses.get(found["unit"].lower()) not in (None, "units"):
            return None
        stops = [found.end()]
        per = found["per"]
        if per:
            last = re.search(rf"(?:{_PER})$", per, re.IGNORECASE)
            stops += [found.end() - len(last[0])] if last is not None else []
            stops.append(found.start("per"))
        for stop in stops:
            words = text[start:stop]
            if stop < len(text) and (text[stop].isalnum() or text[stop] in "/%"):
                continue
            read = self.strengths.read(words, "")
            if read.amount is None and not read.combined:
                continue
            amount = read.amount
            counted = isinstance(amount, Quantity) and amount.code is None
            return Token("dosage" if counted else "strength", Span(start, stop))
        return None

    def _frequency(self, text: str, start: int, end: int) -> Token | None:
        """A frequency or "as needed" of which every word is understood, without a reason, duration or count."""
        words = [found.end() for found in islice(_WORD.finditer(text, start, end), _LONGEST_FREQUENCY)]
        if not words or not self._may_begin(text[start : words[0]]):
            return None
        for stop in reversed(words):
            phrase = text[start:stop].rstrip(",;:")
            if phrase.endswith(")") and "(" not in phrase:
                phrase = phrase.rstrip(")")
            if phrase.endswith(".") and "." not in phrase[:-1]:
                phrase = phrase.rstrip(".")
            if not phrase or ";" in phrase or _OPEN_END.search(phrase) or _BARE_COUNT.match(phrase):
                continue
            read = self.frequencies.read(phrase)
            whole = read.read and read.duration is None and read.as_needed_for is None
            if read.timing is not None and len(read.timing.days) == 1 and not _EACH.search(phrase):
                continue  # "on Monday" may be a day of the calendar
            if read.timing is not None and read.timing.count is not None and plain(phrase) not in self.counted:
                continue  # "daily x2": the number of doses is a token of its own, or of "x2 weeks"
            if whole and (read.timing is None or not read.as_needed):
                at = start + len(phrase)
                qualified = _QUALIFIED.match(text, at, end) if read.timing is not None else None
                return Token("frequency", Span(start, qualified.end() if qualified is not None else at))
        return None

    def _may_begin(self, word: str) -> bool:
        word = plain(word)
        return bool(word) and (word in self.first_of_frequency or word[0] in "qx@" or _FIGURE.match(word) is not None)

    def _duration(self, text: str, start: int, end: int) -> Token | None:
        found = _DURATION.match(text, start, end)
        if found is None or _NOT_LASTING.match(text, found.end()):
            return None
        words = found[0]
        lasts = self.frequencies.duration(words) is not None or self.frequencies.counted(words, None) is not None
        return Token("duration", Span(*found.span())) if lasts and plain(words) not in ("x1", "x 1") else None

    def _count(self, text: str, start: int, end: int) -> Token | None:
        """A number of what comes behind it: a form, or how it is taken ("two qHS")."""
        found = _COUNT.match(text, start, end)
        if found is None:
            return None
        at = marks_end(text, found.end(), end)
        if self.forms.match(text, at, end):
            return Token("dosage", Span(*found.span()))
        if plain(found["number"]) in _NO_COUNT or text[found.end() : at].strip():
            return None
        how = self._frequency(text, at, end) or self._route(text, at, end)
        return Token("dosage", Span(*found.span())) if how is not None else None

    def _route(self, text: str, start: int, end: int) -> Token | None:
        words = [found.end() for found in islice(_WORD.finditer(text, start, end), _LONGEST_ROUTE)]
        if not words or plain(text[start : words[0]]) not in self.first_of_route:
            return None
        for stop in reversed(words):
            phrase = text[start:stop].rstrip(",;:()")
            if phrase.endswith(".") and "." not in phrase[:-1]:
                phrase = phrase.rstrip(".")
            if phrase and self.routes.find(phrase) is not None:
                return Token("route", Span(start, start + len(phrase)))
        return None


def sigs_of(
    strengths: Strengths, frequencies: Frequencies, routes: Vocabulary, fillers: Iterable[str], dispensed: Iterable[str]
) -> Sigs:
    """`fillers` and `dispensed` are phrases of dosing.toml, in lower case."""
    units = strengths.units
    forms = [word for word, form in units.doses.items() if form not in ("units", "dose", "actuation", "inhalation")]
    timings = frequencies.often.timings
    firsts = {word.split(" ")[0] for word in (*timings, *frequencies.needed, *frequencies.often.days.meanings)}
    firsts |= {*"bthpa", *_FIRST_WORDS.split()}
    number = rf"{NUMBER}(?:\s?\(\s?{NUMBER}\s?\))?"
    return Sigs(
        units=units,
        strengths=strengths,
        frequencies=frequencies,
        routes=routes,
        forms=re.compile(any_of(forms), re.IGNORECASE),
        fillers=re.compile(any_of(fillers), re.IGNORECASE),
        dispensed=re.compile(
            rf"(?:(?:{any_of(dispensed)}\s?[:#]?\s?|#\s?){number}"
            rf"|{number}[\s-](?:day|week|month)s?'?[\s-]supply|{number}\srefills?\b)",
            re.IGNORECASE,
        ),
        first_of_frequency=frozenset(firsts),
        counted=frozenset(phrase for phrase, timing in timings.items() if timing.count is not None),
        first_of_route=frozenset(phrase.split(" ")[0] for phrase in routes.phrases.meanings) | routes.phrases.fillers,
    )


def marks_end(text: str, start: int, end: int) -> int:
    """Where spaces and marks that may stand between two tokens end."""
    found = _MARKS.match(text, start, end)
    return found.end() if found is not None else start
