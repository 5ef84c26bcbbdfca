"""The command line: `kiwi-fhir COMMAND`. Commands are thin; what is heavy is imported by the command that needs it."""

from __future__ import annotations

import sys
from collections.abc import Callable

from kiwi_fhir.errors import KiwiError, sentence


def main(command: Callable[[], object] | None = None) -> None:
    """Run the command line, or only `command` of it; an error is one sentence and an exit code, never a traceback."""
    from kiwi_fhir.cli.commands import app

    try:
        (command or app)()
    except Exception as error:
        if "--debug" in sys.argv:
            raise
        sys.stderr.write(f"kiwi-fhir: {sentence(error)}\n")
        sys.exit(error.exit_code if isinstance(error, KiwiError) else KiwiError.exit_code)
