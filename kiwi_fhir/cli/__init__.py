"""The command line: `kiwi-fhir COMMAND`. Commands are thin; what is heavy is imported by the command that needs it."""

from __future__ import annotations

import sys

from kiwi_fhir.errors import KiwiError

FAILED = 1


def main() -> None:
    """Run the command line; every error of ours is one sentence and an exit code, never a traceback."""
    from kiwi_fhir.cli.commands import app

    debug = "--debug" in sys.argv
    try:
        app()
    except KiwiError as error:
        if debug:
            raise
        _say(str(error))
        sys.exit(error.exit_code)
    except OSError as error:
        if debug:
            raise
        where = f" ({error.filename})" if error.filename else ""
        _say(f"The system refused: {error.strerror or type(error).__name__}{where}.")
        sys.exit(FAILED)
    except Exception as error:
        if debug:
            raise
        # The message of a foreign exception may hold note text: only its class is shown.
        _say(f"The program failed with {type(error).__name__}: run again with --debug and report what it shows.")
        sys.exit(FAILED)


def _say(sentence: str) -> None:
    sys.stderr.write(f"kiwi-fhir: {sentence}\n")
