"""Phrases of a mapping file that stand for several: `{is|was} {|still }not seen`, with and without contraction.

A list of few is `expanded` to all that it stands for; of many and long ones `PhraseBook` makes one automaton.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Generic, TypeVar

from kiwi_fhir.types import Span

Says = TypeVar("Says")

_CHOICE = re.compile(r"\{([^{}]*)\}")
_NOT = re.compile(r"\b(is|are|was|were|do|does|did|has|have|had|could|would|should|can) ?not\b")
_WILL_NOT = re.compile(r"\bwill not\b")
_CANNOT = re.compile(r"\b(?:cannot|can not)\b")
_VERBS = ("is", "are", "was", "were")
_DEAD = -1
_FIRST = 4  # so many characters of a phrase are looked for before the automaton is asked


def expanded(phrases: Iterable[str]) -> list[str]:
    """All phrases that `phrases` stand for, in lower case with single spaces, each once.

    `{a|b}` is one of its parts, an empty part is none of them, and choices may lie inside each other. What begins with
    "not" is there with "is not" too, and what holds "does not", "cannot" or the like with its contractions ("doesn't",
    "doesnt").
    """
    found: dict[str, None] = {}
    for phrase in phrases:
        for choice in _choices(phrase.lower()):
            one = " ".join(choice.split())
            whole = [one, *(f"{verb} {one}" for verb in _VERBS)] if one.startswith("not ") or one == "not" else [one]
            found.update(dict.fromkeys(form for part in whole for form in (part, *_contractions(part))))
    return list(found)


def _choices(phrase: str) -> list[str]:
    choice = _CHOICE.search(phrase)
    if choice is None:
        return [phrase]
    start, end = choice.span()
    return [one for part in choice[1].split("|") for one in _choices(f"{phrase[:start]}{part}{phrase[end:]}")]


def _contractions(phrase: str) -> list[str]:
    if _NOT.search(phrase):
        forms = [_NOT.sub(r"\1n't", phrase), _NOT.sub(r"\1nt", phrase)]
        if "can" in phrase:
            forms = [form.replace("cann't", "can't").replace("cannt", "cant") for form in forms]
            forms += [phrase.replace("cannot", "can not"), phrase.replace("can not", "cannot")]
        return forms
    if _WILL_NOT.search(phrase):
        return [_WILL_NOT.sub("won't", phrase), _WILL_NOT.sub("wont", phrase)]
    return []


class PhraseBook(Generic[Says]):
    """Phrases with what each says, found in a text by one automaton (Thompson's construction, made deterministic
    where texts lead it), so that neither the choices of a phrase nor the number of phrases cost anything.

    A phrase stands for what `expanded` gives, and for the contractions of any verb before "not". Of "will not" within a
    choice ("{do|will} not") there are none. Picklable; threads may share one.
    """

    def __init__(self, phrases: Iterable[tuple[str, Says]]) -> None:
        self._edges: list[dict[str, list[int]]] = []
        self._free: list[list[int]] = []
        self._says: dict[int, tuple[int, Says]] = {}
        first = self._node()
        for number, (phrase, says) in enumerate(phrases):
            lower = _WILL_NOT.sub("{will not|won't|wont}", phrase.lower())
            begin, end = self._node(), self._node()
            self._build(_CANNOT.sub("{cannot|can not|can't|cant}", lower), begin, end)
            self._contract(begin)
            self._free[first].append(begin)
            self._says[end] = (number, says)
        self._states: dict[frozenset[int], int] = {}
        self._steps: list[dict[str, int]] = []
        self._nodes: list[frozenset[int]] = []
        self._found: list[tuple[Says, ...]] = []
        self._state(self._closed([first], spaced=True))
        # Between words there are borders, beside other marks ("?stroke") there need be none.
        begins = "|".join(self._beginnings(0, _FIRST))
        self._begins = re.compile(rf"(?:(?<!\w)|(?=\W))(?={begins})")

    def search(self, text: str, at: int) -> tuple[Span, tuple[Says, ...]] | None:
        """The first and longest phrase of `text` (lower case) from `at` on that stands between borders of words.

        With it comes what it says, in the order of the phrases.
        """
        for begin in self._begins.finditer(text, at):
            end, found = self._longest(text, begin.start(), len(text))
            if found:
                return Span(begin.start(), end), found
        return None

    def read(self, text: str, span: Span) -> tuple[Says, ...]:
        """What the phrase says that is all of `span`; empty where it is none."""
        end, found = self._longest(text, span.start, span.end)
        return found if end == span.end else ()

    def _beginnings(self, state: int, depth: int) -> Iterator[str]:
        """Patterns of the first characters of all phrases, those that share some together."""
        marks = sorted(
            {mark for node in self._nodes[state] for mark in self._edges[node]} - ({" "} if not state else set())
        )
        if not depth or not marks or self._found[state]:
            yield ""
            return
        for mark in marks:
            deeper = [*self._beginnings(self._step(state, mark), depth - 1)]
            yield (r"\s+" if mark == " " else re.escape(mark)) + (f"(?:{'|'.join(deeper)})" if deeper != [""] else "")

    def _longest(self, text: str, at: int, size: int) -> tuple[int, tuple[Says, ...]]:
        """Where the longest phrase ends that begins at `at` and ends by `size`, and what it says."""
        state, end = 0, at
        found: tuple[Says, ...] = ()
        steps, says = self._steps, self._found
        while at < size:
            mark = text[at]
            at += 1
            if mark.isspace():
                mark = " "
                while at < size and text[at].isspace():
                    at += 1
            after = steps[state].get(mark)
            state = self._step(state, mark) if after is None else after
            if state == _DEAD:
                break
            if says[state] and mark != " " and (at == size or not (_is_letter(mark) and _is_letter(text[at]))):
                end, found = at, says[state]
        return end, found

    def _step(self, state: int, mark: str) -> int:
        nodes = [after for node in self._nodes[state] for after in self._edges[node].get(mark, ())]
        after = self._state(self._closed(nodes, spaced=mark == " ")) if nodes else _DEAD
        self._steps[state][mark] = after
        return after

    def _state(self, nodes: frozenset[int]) -> int:
        state = self._states.get(nodes)
        if state is None:
            said = {self._says[node] for node in self._closed(nodes, spaced=True) if node in self._says}
            self._steps.append({})
            self._nodes.append(nodes)
            self._found.append(tuple(says for _, says in sorted(said, key=lambda item: item[0])))
            state = self._states[nodes] = len(self._nodes) - 1
        return state

    def _closed(self, nodes: Iterable[int], *, spaced: bool) -> frozenset[int]:
        """`nodes` with all that can be reached for nothing; behind a space (and at the end) spaces are for nothing."""
        found, open_ = set(nodes), list(nodes)
        while open_:
            node = open_.pop()
            reached = [*self._free[node], *(self._edges[node].get(" ", ()) if spaced else ())]
            open_ += [after for after in reached if after not in found]
            found.update(reached)
        return frozenset(found)

    def _node(self) -> int:
        self._edges.append({})
        self._free.append([])
        return len(self._edges) - 1

    def _chain(self, text: str, begin: int) -> int:
        for mark in text:
            after = self._node()
            self._edges[begin].setdefault(mark, []).append(after)
            begin = after
        return begin

    def _build(self, phrase: str, begin: int, end: int) -> None:
        """Lead from `begin` to `end` by what `phrase` stands for."""
        depth, piece, parts = 0, "", list[str]()
        node = begin
        for mark in phrase:
            if mark == "{":
                depth += 1
                if depth == 1:
                    node, parts, piece = self._chain(piece, node), [], ""
                    continue
            elif mark == "}":
                depth -= 1
                if depth == 0:
                    after = self._node()
                    for part in (*parts, piece):
                        self._build(part, node, after)
                    node, piece = after, ""
                    continue
            elif mark == "|" and depth == 1:
                parts.append(piece)
                piece = ""
                continue
            piece += " " if mark.isspace() else mark
        self._free[self._chain(piece, node)].append(end)

    def _contract(self, begin: int) -> None:
        """Let the phrase from `begin` on be contracted ("does not": "doesn't"), and begin with "is not" for "not"."""
        opening = self._closed([begin], spaced=True)
        denied = self._through(opening, "not")
        for verb in _VERBS if denied else ():
            for form in (f"{verb} not", f"{verb}n't", f"{verb}nt"):
                end = self._chain(form, begin)
                self._free[end] += denied
        reached, open_ = set(opening), list(opening)
        while open_:
            node = open_.pop()
            if " " in self._edges[node] and node not in opening:
                for after in self._through([node], " not"):
                    for form in ("n't", "nt"):
                        self._free[self._chain(form, node)].append(after)
            deeper = {after for nodes in self._edges[node].values() for after in nodes} | set(self._free[node])
            open_ += deeper - reached
            reached |= deeper

    def _through(self, nodes: Iterable[int], word: str) -> list[int]:
        """Where `word` leads from `nodes`, if it ends there."""
        for index, mark in enumerate(word):
            nodes = self._closed(nodes, spaced=word[:index].endswith(" "))
            nodes = [after for node in nodes for after in self._edges[node].get(mark, ())]
        return [node for node in nodes if self._ends(node)]

    def _ends(self, node: int) -> bool:
        marks = {mark for after in self._closed([node], spaced=False) for mark in self._edges[after]}
        return not marks or " " in marks or not any(mark.isalnum() for mark in marks)


def _is_letter(mark: str) -> bool:
    return mark.isalnum() or mark == "_"
