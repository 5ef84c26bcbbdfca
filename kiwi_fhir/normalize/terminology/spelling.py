"""Fuzzy linking (opt-in): one misspelled word put right, then the whole phrase found as it would be otherwise.

Only a word that no name has is corrected, so that a name is never turned into another one: "prednisone" and
"prednisolone" are both right. Hence no threshold on the similarity of phrases, which rates "hypotension" close to
"hypertension".
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property

from rapidfuzz.distance import OSA, Levenshtein
from rapidfuzz.process import extract

from kiwi_fhir.normalize.terminology.codes import CodeTable
from kiwi_fhir.normalize.terminology.index import Index
from kiwi_fhir.normalize.terminology.rules import Rules
from kiwi_fhir.types import MentionLabel

#: A shorter word has too many neighbours; a longer one may hold two slips. Beginnings are seldom misspelled.
_SHORTEST, _LONG, _START = 6, 10, 2
_MOST = 8
#: Letters that are written for one another.
_ALIKE = (frozenset("aeiouy"), frozenset("ckstxz"))


class Speller:
    """Offers corrections of a phrase's one unknown word. Picklable."""

    def __init__(self, index: Index, tables: Mapping[MentionLabel, CodeTable], rules: Rules) -> None:
        self._index = index
        self._tables = tables
        self._rules = rules

    @cached_property
    def _own(self) -> frozenset[str]:
        return frozenset().union(*(table.words for table in self._tables.values()))

    def corrections(self, key: str, label: MentionLabel) -> list[tuple[str, float]]:
        """Phrases that `key` may be a slip of, with their likeness (0 to 1); the most alike first."""
        words = key.split(" ")
        unknown = [word for word in words if word not in self._own and not self._index.has_word(word)]
        if len(unknown) != 1 or words.count(unknown[0]) != 1:
            return []
        wrong = unknown[0]
        if len(wrong) < _SHORTEST or not wrong.isalpha():
            return []
        # Drugs' names differ by less than other words; an unknown one may be a new drug.
        slips = 2 if len(wrong) >= _LONG and label != "drug" else 1
        start = wrong[:_START]
        near = [word for word in self._index.words_from(start) if word.isalpha()]
        near += sorted(word for word in self._own if word.startswith(start) and word.isalpha())
        at = words.index(wrong)
        found: dict[str, float] = {}
        for right, *_ in extract(wrong, near, scorer=OSA.distance, score_cutoff=slips, limit=_MOST):
            if self._turns(wrong, right):  # "hyportension": which of the two is not known
                return []
            if not _is_slip(wrong, right, same_letters=label == "drug"):
                continue
            phrase = " ".join((*words[:at], right, *words[at + 1 :]))
            found[phrase] = round(OSA.normalized_similarity(key, phrase), 4)
        return sorted(found.items(), key=lambda item: (-item[1], item[0]))

    def _turns(self, wrong: str, right: str) -> bool:
        """Whether one begins or ends with a word part that turns the meaning around and the other does not."""
        if self._front(wrong) != self._front(right):
            return True
        end, other = (
            next((part for part in self._rules.endings if word.endswith(part)), "") for word in (wrong, right)
        )
        if end and other and end != other:
            return True
        # "ahypnia" and "hypnia": one is the other with a part before it
        longer, shorter = (wrong, right) if len(wrong) > len(right) else (right, wrong)
        return len(longer) > len(shorter) and longer.endswith(shorter)

    def _front(self, word: str) -> str:
        return next((part for part in self._rules.opposites if len(part) > 2 and word.startswith(part)), "")


def _is_slip(wrong: str, right: str, *, same_letters: bool) -> bool:
    """Whether `wrong` has two letters swapped, a letter too many or too few, or one for another that is alike.

    "hemostasis" is no slip of "hemoptysis"; with `same_letters` no letter stands for another at all.
    """
    if OSA.distance(wrong, right) == 1 and sorted(wrong) == sorted(right):
        return True
    for edit in Levenshtein.editops(wrong, right):
        if edit.tag == "replace":
            pair = {wrong[edit.src_pos], right[edit.dest_pos]}
            if same_letters or not any(pair <= letters for letters in _ALIKE):
                return False
    return True
