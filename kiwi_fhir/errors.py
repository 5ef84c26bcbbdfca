"""The error tree.

KiwiError              exit 1   anything that ends a run; the message is one sentence that says what to do
  UsageError           exit 2   the call is wrong: an option, a path, a column
    ConfigError        exit 2   the config file
    MappingError       exit 2   a mapping file; names file, line and key
    ModelError         exit 2   a model folder that can't be loaded
  InputError           exit 1   an input file that breaks off or can't be read on; what came before is kept
  Unavailable          exit 1   a server that is away or busy, and may be back: what was asked may be asked again
  TooManyFailures      exit 3   more notes failed than --max-failure-rate allows
  NoteError            -        one bad note; becomes a Failure and stops nothing else
"""

from __future__ import annotations

from types import TracebackType


class KiwiError(Exception):
    """The root: one sentence for the user and the exit code of the process."""

    exit_code = 1


class UsageError(KiwiError):
    """The call is wrong."""

    exit_code = 2


class ConfigError(UsageError):
    """The config file is wrong."""


class MappingError(UsageError):
    """A mapping file is wrong; the message names file, line and key."""


class ModelError(UsageError):
    """A model folder can't be loaded."""


class InputError(KiwiError):
    """An input file breaks off; the notes before the break are kept."""


class Unavailable(KiwiError):
    """A server is away or busy.

    `status` is that of its answer, if there was one; `retry_after` the seconds that it wants us to wait.
    """

    def __init__(self, message: str, status: int | None = None, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.status, self.retry_after = status, retry_after


class TooManyFailures(KiwiError):
    """More notes failed than the caller allows."""

    exit_code = 3


class NoteError(KiwiError):
    """One note can't be handled.

    `reason` is a short class such as `invalid-base64`; neither it nor the message holds note text.
    """

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


def sentence(error: BaseException) -> str:
    """What a user is told of `error`: our own message, the system's word, or the class and place of a foreign one.

    The message of a foreign exception may hold note text and is never in it.
    """
    if isinstance(error, KiwiError):
        return str(error)
    if isinstance(error, OSError):
        where = f" ({error.filename})" if error.filename else ""
        return f"The system refused: {error.strerror or type(error).__name__}{where}."
    where = f" at {found}" if (found := place(error)) else ""
    return f"The program failed with {type(error).__name__}{where}: run again with --debug and report what it shows."


def place(error: BaseException) -> str | None:
    """`MODULE:LINE` where `error` left our code (`kiwi_fhir.fhir.bundle:120`), else where it was raised.

    None for an exception that was not raised.
    """
    found = None
    ours = False
    trace: TracebackType | None = error.__traceback__
    while trace is not None:
        module = str(trace.tb_frame.f_globals.get("__name__"))
        mine = module.partition(".")[0] == __package__
        if mine or not ours:
            found, ours = f"{module}:{trace.tb_lineno}", mine
        trace = trace.tb_next
    return found
