"""Many phrases as one regular expression that reads each character of a text about once."""

from __future__ import annotations

import re
from collections.abc import Iterable


def any_of(phrases: Iterable[str]) -> str:
    """A pattern that matches the longest of `phrases` (lower case, at least one) between the borders of words.

    The phrases share their beginnings in it, so that hundreds of them cost little more than one. A space in a phrase
    stands for any white space.
    """
    root: dict[str, dict] = {}  # type: ignore[type-arg]
    for phrase in phrases:
        node = root
        for mark in " ".join(phrase.split()):
            node = node.setdefault(mark, {})
        node[""] = {}
    # The border stands behind the first character: re looks for a set of characters much faster than for a border.
    branches = [rf"{re.escape(mark)}(?<!\w.){_pattern(deeper)}" for mark, deeper in sorted(root.items()) if mark]
    return rf"(?:{'|'.join(branches)})(?!\w)"


def _pattern(node: dict[str, dict]) -> str:  # type: ignore[type-arg]
    branches = [
        (r"\s+" if mark == " " else re.escape(mark)) + _pattern(deeper) for mark, deeper in sorted(node.items()) if mark
    ]
    if not branches:
        return ""
    joined = branches[0] if len(branches) == 1 and "" not in node else f"(?:{'|'.join(branches)})"
    return f"{joined}?" if "" in node else joined
