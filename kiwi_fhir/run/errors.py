"""Errors on their way from a worker to the command line.

A runner hands an exception on as text, if at all. So the text of what leaves a stage holds our sentence and its kind
between two marks, and `home` finds them again. The message of a foreign exception stays behind: it may hold note text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from kiwi_fhir.errors import (
    ConfigError,
    InputError,
    KiwiError,
    MappingError,
    ModelError,
    TooManyFailures,
    Unavailable,
    UsageError,
    sentence,
)

_MARKED = re.compile(r"<kiwi-fhir (\w+)>(.*?)</kiwi-fhir>", re.DOTALL)
_KINDS: dict[str, type[KiwiError]] = {
    kind.__name__: kind
    for kind in (
        KiwiError,
        UsageError,
        ConfigError,
        MappingError,
        ModelError,
        InputError,
        Unavailable,
        TooManyFailures,
    )
}


class Marked(KiwiError):
    """An error as it leaves a stage: its kind and sentence, marked."""


@contextmanager
def marked() -> Iterator[None]:
    """Let what is raised inside leave as Marked, with its traceback."""
    try:
        yield
    except Marked:
        raise
    except Exception as error:
        kind = next((base.__name__ for base in type(error).__mro__ if base.__name__ in _KINDS), KiwiError.__name__)
        raise Marked(f"<kiwi-fhir {kind}>{sentence(error)}</kiwi-fhir>").with_traceback(error.__traceback__) from None


def home(error: BaseException) -> BaseException:
    """The error that left a stage, where the text of `error` or of one that it came from holds it; else `error`."""
    found: BaseException | None = error
    while found is not None:
        if match := _MARKED.search(str(found)):
            return _KINDS.get(match[1], KiwiError)(match[2])
        found = found.__cause__ or found.__context__
    return error
