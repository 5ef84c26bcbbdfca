"""Finding the spans of a copy with errors in its source, where that is certain.

A span is certain when its own characters and those on both sides (ANCHOR of them, or up to an end of the source) are
copied exactly; when every alignment of copy and source with the fewest edits puts its two ends there; and when every
other place of the same words would take more than twice as many edits. A word changed far away leaves a span certain;
one dropped or added in a row of repeated phrases does not.
"""

from __future__ import annotations

from rapidfuzz.distance import Indel

from kiwi_fhir.extract.generative.markup_walk import Found, NotRead

#: Characters without white space that must agree on each side of a span.
ANCHOR = 8
#: What may differ at most: one character in so many of the source, added and dropped ones alike.
_ONE_IN = 5
#: How many edits more than twice the fewest another place must take.
_MARGIN = 4


def place(copy: str, source: str, spans: list[Found], repairs: list[str]) -> list[Found]:
    """`spans` of `copy` as spans of `source` (both without white space). Raises NotRead where that is not certain."""
    start = copy.find(source)
    if start >= 0:
        end, more = start + len(source), len(copy) - len(source)
        for span in spans:
            inside = start <= span.start and span.end <= end
            if not inside or any(
                _may_lie_elsewhere(copy, source, at, at - start, more) for at in (span.start, span.end)
            ):
                raise NotRead("other-text")
        repairs.append("around")
        return [Found(span.label, span.start - start, span.end - start) for span in spans]
    tail = source[len(copy) :] if source.startswith(copy) else ""
    if any(mark.isalnum() for mark in tail):
        raise NotRead("cut-off")  # a full stop may be missing, a word may not
    limit = len(source) // _ONE_IN
    edits = Indel.distance(copy, source, score_cutoff=limit)
    if edits > limit:
        raise NotRead("other-text")
    if Indel.distance(copy[-ANCHOR:], source[-ANCHOR:]) > ANCHOR:
        raise NotRead("cut-off")
    placed: list[Found] = []
    for span in spans:
        found = _place(copy, source, span, edits)
        if found is None or (placed and found.start < placed[-1].end):
            raise NotRead("other-text")
        placed.append(found)
    repairs.append("other-text")
    return placed


def _place(copy: str, source: str, span: Found, edits: int) -> Found | None:
    words = copy[span.start : span.end]
    before, behind = copy[: span.start], copy[span.end :]
    costs: list[tuple[int, int]] = []
    at = source.find(words)
    while at >= 0:
        end = at + len(words)
        costs.append((Indel.distance(before, source[:at]) + Indel.distance(behind, source[end:]), at))
        at = source.find(words, at + 1)
    if not costs:
        return None
    costs.sort()
    fewest, start = costs[0]
    end = start + len(words)
    if fewest > edits or (len(costs) > 1 and costs[1][0] < 2 * fewest + _MARGIN):
        return None
    anchored = before.endswith(source[max(0, start - ANCHOR) : start]) and behind.startswith(source[end : end + ANCHOR])
    if not anchored or _may_lie_elsewhere(copy, source, span.start, start, edits):
        return None
    return None if _may_lie_elsewhere(copy, source, span.end, end, edits) else Found(span.label, start, end)


def _may_lie_elsewhere(copy: str, source: str, end: int, placed: int, edits: int) -> bool:
    """Whether some alignment with no more edits puts `end` of the copy elsewhere than at `placed` in the source."""
    before, behind = copy[:end], copy[end:]
    for at in range(max(0, end - edits), min(len(source), end + edits) + 1):
        if at == placed:
            continue
        cost = Indel.distance(before, source[:at], score_cutoff=edits)
        if cost <= edits and cost + Indel.distance(behind, source[at:], score_cutoff=edits) <= edits:
            return True
    return False
