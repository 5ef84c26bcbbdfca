"""Numbers as notes write them: digits, fractions and words, as Decimal with the digits as written."""

from __future__ import annotations

import re
from decimal import Decimal

#: A number in digits: `1,200`, `0.50`, `.5`.
DIGITS = r"(?:\d{1,3}(?:,\d{3})+(?:\.\d+)?|\d+(?:\.\d+)?|\.\d+)"

_WORDS = {
    word: Decimal(value)
    for value, words in {
        "1": "one a an once single",
        "2": "two twice",
        "3": "three thrice",
        "4": "four",
        "5": "five",
        "6": "six",
        "7": "seven",
        "8": "eight",
        "9": "nine",
        "10": "ten",
        "11": "eleven",
        "12": "twelve",
        "13": "thirteen",
        "14": "fourteen",
        "15": "fifteen",
        "16": "sixteen",
        "18": "eighteen",
        "20": "twenty",
        "21": "twenty-one",
        "24": "twenty-four",
        "28": "twenty-eight",
        "30": "thirty",
        "40": "forty",
        "45": "forty-five",
        "48": "forty-eight",
        "50": "fifty",
        "60": "sixty",
        "72": "seventy-two",
        "90": "ninety",
        "0.5": "half",
        "1.5": "one-and-a-half",
    }.items()
    for word in words.split()
}
_FRACTIONS = {"½": "0.5", "¼": "0.25", "¾": "0.75", "1/2": "0.5", "1/4": "0.25", "3/4": "0.75"}
_HALVES = frozenset(["and a half", "and a-half", "and one half", "and one-half", "and 1/2", "and ½", "and half"])

#: A number in digits, as a fraction, or as a word; compile with re.IGNORECASE.
NUMBER = (
    r"(?:\d+[ -](?:1/2|1/4|3/4)\b|(?:\d+[ -]?)?[½¼¾]"
    r"|(?:one|two|three|four|five|[1-9]) and (?:(?:(?:an?|one)[ -])?half\b|1/2|½)"
    rf"|(?:1/2|1/4|3/4)(?!\d)|{DIGITS}|(?:one[ -])?half(?: an?\b)?"
    rf"|(?:{'|'.join(sorted(_WORDS, key=len, reverse=True))})\b)"
)

_DIGITS = re.compile(DIGITS)


def read_digits(text: str) -> Decimal | None:
    """A number in digits (`1,200`, `.5`); None for anything else."""
    return Decimal(text.replace(",", "")) if _DIGITS.fullmatch(text) else None


def read_number(text: str) -> Decimal | None:
    """A number in digits, as a fraction or in words; None for anything else."""
    text = text.strip().lower()
    value = read_digits(text)
    if value is not None:
        return value
    if text in _WORDS:
        return _WORDS[text]
    if text in _FRACTIONS:
        return Decimal(_FRACTIONS[text])
    if text in ("half a", "half an", "one half", "one-half"):
        return Decimal("0.5")
    whole, _, part = text.replace("-", " ").partition(" ")
    if part in _FRACTIONS and whole.isdigit():
        return Decimal(whole) + Decimal(_FRACTIONS[part])
    if text[-1:] in _FRACTIONS and text[:-1].strip(" -").isdigit():
        return Decimal(text[:-1].strip(" -")) + Decimal(_FRACTIONS[text[-1]])
    if text.partition(" ")[2] in _HALVES and (whole in _WORDS or whole.isdigit()):
        return (_WORDS[whole] if whole in _WORDS else Decimal(whole)) + Decimal("0.5")
    return None
