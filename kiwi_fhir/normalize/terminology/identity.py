"""When two mentions name one thing: they have the same codes, and say the same beside them."""

from __future__ import annotations

import re
from functools import lru_cache

from kiwi_fhir.normalize.terminology.names import key
from kiwi_fhir.normalize.terminology.rules import Rules
from kiwi_fhir.types import Fact

#: A code of several things ("Other specified abnormal findings of blood chemistry"): its words tell them apart.
_SEVERAL = re.compile(r"\b(?:other|elsewhere classified|NEC)\b", re.IGNORECASE)


def name_of(fact: Fact, rules: Rules) -> str:
    """What `fact` is of, as `Fact.name` has it.

    With codes: the codes, and of its words the `qualifiers` that the code does not say ("left", "recurrent"). Without:
    its words as they are compared, without determiners. A code of MedCAT is one of many near ones, so its words count.
    """
    words = _words(fact.text)
    if not fact.codings:
        return rules.undetermined(words)
    first = fact.codings[0]
    if first.method == "medcat" or _SEVERAL.search(first.display):
        more = rules.undetermined(words)
    else:
        said = rules.qualifiers.intersection(words.split(" "))
        more = " ".join(sorted(said.difference(_words(first.display).split(" ")))) if said else ""
    return "|".join((first.system or "", first.code or "", more))


@lru_cache(maxsize=1 << 15)
def _words(text: str) -> str:
    return key(text)
