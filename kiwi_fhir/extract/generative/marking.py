"""What LLaMA back ends are asked and what they answer: a text to copy, with tags around the spans found in it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Tags:
    """How a span is marked in a text. The default is the Kiwi study's (arXiv 2411.10020)."""

    open: str = '<span class="{label}">'
    close: str = "</span>"

    def opening(self, label: str) -> str:
        """The tag that opens a span of this label."""
        return self.open.replace("{label}", label)


@dataclass(frozen=True, slots=True)
class Task:
    """One question: the answer is `source` again, with tags of `labels` in it.

    `prompt` is all text up to where the answer begins; `source` is not empty and has no white space at its ends.
    """

    prompt: str
    source: str
    labels: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Marked:
    """A marked span `[start, end)` in code points of the task's source; `score` is in 0..1, None without one."""

    label: str
    start: int
    end: int
    score: float | None = None


@dataclass(frozen=True, slots=True)
class AnswerRefused:
    """A task that got no usable answer; `message` holds no text of the note."""

    reason: str
    message: str


Answer = tuple[Marked, ...] | AnswerRefused


class Backend(Protocol):
    """A model, here or on a server, that answers tasks."""

    def mark(self, tasks: Sequence[Task]) -> list[Answer]:
        """One answer a task, in order; spans ascend, never overlap, and don't depend on how tasks are grouped."""
        ...
