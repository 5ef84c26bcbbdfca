"""Where the sentences and list items of a note end, for rules that must not look beyond them.

Lighter than the segmenter that cuts a note for the model: it keeps no words and knows no headers by name.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from dataclasses import dataclass

# A run of line ends, or a mark that ends a sentence before a capital, a figure or a list mark. MTSamples' line ends
# were lost in places: ".," before a capital stands for one. A set of characters comes first: re looks for that fast.
_BREAK = re.compile(r"[\n.?!](?:(?<=\n)\s*|(?<!\n)[\"')\]]*(?:\s+|,)(?=[\"'(\[]?[A-Z0-9*#]))")
_ABBREVIATION = re.compile(
    r"(?:\b(?:dr|mr|mrs|ms|st|vs|no|approx|pt|dx|hx|e\.g|i\.e|etc|p\.o|b\.i\.d|t\.i\.d|q\.i\.d|q\.d|p\.r\.n|a\.m|p\.m"
    r"|mg|ml|[a-z])|^\s*\(?\d{1,3})$",
    re.IGNORECASE,
)
_ITEM = re.compile(r"[-*•·>+#]|\(?\d{1,2}[.)]|[A-Za-z][.)]\s|[A-Z][A-Za-z /&]{1,40}:")
_WRAP_WIDTH = 50  # a line shorter than this was ended by its author, not by a line wrap


@dataclass(frozen=True, slots=True)
class Sentences:
    """`ends` are the offsets at which a sentence or list item ends and the next begins, ascending."""

    ends: list[int]
    length: int

    def around(self, offset: int) -> tuple[int, int]:
        """Where the sentence with the character at `offset` starts and ends."""
        index = bisect_right(self.ends, offset)
        start = self.ends[index - 1] if index else 0
        return start, self.ends[index] if index < len(self.ends) else self.length


def sentences(text: str) -> Sentences:
    """The sentences of `text`; linear in its length."""
    ends: list[int] = []
    line = 0
    for found in _BREAK.finditer(text):
        start, end = found.span()
        if text[start] == "\n":
            wrapped = (
                start - line >= _WRAP_WIDTH
                and "\n" not in text[start + 1 : end]
                and text[start - 1] not in ".:;?!"
                and not _ITEM.match(text, end)
            )
            line = end
            if wrapped:
                continue
        elif text[start] == "." and _ABBREVIATION.search(text[max(line, start - 12) : start]):
            continue
        elif "\n" in found[0]:
            line = end
        ends.append(end)
    return Sentences(ends, len(text))


def lower(text: str) -> str:
    """`text` in lower case, offset for offset: the few characters whose lower case is longer stay as they are."""
    found = text.lower()
    return found if len(found) == len(text) else "".join(m if len(low := m.lower()) != 1 else low for m in text)
