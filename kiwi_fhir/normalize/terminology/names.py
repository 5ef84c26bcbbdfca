"""How names are compared: one key for a note's words, the code tables and the official names.

The key forgets only what never tells two names apart in a clinical note: case, accents, punctuation, the possessive
and the plural. Word order, digits and signs stay, so that "type 1" and "type 2", "HIV+" and "HIV" are never one.
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache

_GREEK = {"α": " alpha ", "β": " beta ", "γ": " gamma ", "δ": " delta ", "ω": " omega ", "µ": "u", "μ": "u"}
_QUOTES = {"’": "'", "‘": "'", "`": "'", "–": "-", "—": "-", "−": "-", "‐": "-", "‑": "-"}
_MARKS = re.compile(r"[^\x00-\x7f]|`")
_POSSESSIVE = re.compile(r"'s?(?![^\W_])|'")
# c.h.f. and c. h. f.; the dot comes first in the pattern, as it is rarer than letters
_LETTER_DOT = re.compile(r"\.(?<=[^\W\d_]\.)(?<![^\W_][^\W\d_]\.)\s?(?=[^\W\d_](?![^\W_]))")
_TOKENS = re.compile(r"\d+\.\d+|[^\W_]+|%|(?<=[^\W_])[+-](?![^\s)\]])")

_IN_OSE = frozenset({"doses", "overdoses", "glucoses", "lactoses", "dextroses", "noses", "purposes"})

#: Changes when a key does, so that an index with other keys is built anew.
VERSION = 2


def key(text: str) -> str:
    """`text` as it is compared: words in lower case and the singular, one space between them; "" where none is left."""
    text = text.lower()
    if not text.isascii():
        text = _MARKS.sub(lambda found: _simple(found[0]), text)
    if "'" in text:
        text = _POSSESSIVE.sub("", text)
    if "." in text:
        text = _LETTER_DOT.sub("", text)
    if "&" in text:
        text = text.replace("&", " and ")
    return " ".join(map(_singular, _TOKENS.findall(text)))


@lru_cache(maxsize=1 << 12)
def _simple(mark: str) -> str:
    """A character without its accents, and what stands for it where no key has it."""
    known = _QUOTES.get(mark) or _GREEK.get(mark)
    if known is not None:
        return known
    # once more in lower case: what a letter like "ᴶ" is made of is a capital
    parts = unicodedata.normalize("NFKD", mark).lower()
    return "".join(part for part in parts if not unicodedata.combining(part))


@lru_cache(maxsize=1 << 16)
def _singular(word: str) -> str:
    """The singular by spelling alone: not always English ("diabete"), but the same for both sides."""
    if len(word) < 4 or word[-1] != "s" or word.endswith(("ss", "us", "is")):
        return word
    if word.endswith("ies"):
        return word[:-3] + "y"
    if word.endswith(("sses", "shes", "ches", "xes")):
        return word[:-2]
    if word.endswith(("oses", "tases")) and word not in _IN_OSE:  # stenoses, metastases
        return word[:-2] + "is"
    if word.endswith("as") and not word.endswith("mas"):  # pancreas, but carcinomas
        return word
    return word[:-1]


def without(words: str, pattern: re.Pattern[str]) -> str:
    """A key without the phrases that `pattern` (of `phrases`) finds; the key itself where nothing would be left."""
    found = pattern.sub("", f" {words}").strip()
    return found or words


def phrases(keys: frozenset[str] | set[str]) -> re.Pattern[str] | None:
    """A pattern of any of these keys as whole words; None without keys."""
    if not keys:
        return None
    any_of = "|".join(re.escape(item) for item in sorted(keys, key=lambda item: (-len(item), item)))
    return re.compile(rf" (?:{any_of})(?= |$)")


def stands_for(short: str, words: str) -> bool:
    """Whether `short` ("COPD") may be an abbreviation of `words`: two capitals, its letters in their order there."""
    if sum(mark.isupper() for mark in short) < 2:
        return False
    letters = [mark for mark in short.lower() if mark.isalnum()]
    long = words.lower().lstrip("([\"'")
    if len(long) <= len(short) or " " not in long or not long.startswith(letters[0]):
        return False
    rest = iter(long)
    return all(letter in rest for letter in letters)
