"""`kiwi-fhir load`: bundles that were written before, to a FHIR server."""

from __future__ import annotations

import sys
import time
from pathlib import Path

from rich.console import Console
from rich.table import Table

from kiwi_fhir.cli.run import quiet_libraries
from kiwi_fhir.config import Config
from kiwi_fhir.errors import KiwiError, TooManyFailures
from kiwi_fhir.write.fhir.load import Counts, Load
from kiwi_fhir.write.fhir.server import FhirServer

_PLAIN_SECONDS = 30.0


def load_bundles(
    path: Path,
    to: str,
    config: Config,
    *,
    resume: bool = False,
) -> Counts:
    """Send the bundles of `path` as `config.fhir` says, and print the counts.

    Raises UsageError for a call that can't work, KiwiError where the server is gone, TooManyFailures over the rate.
    """
    quiet_libraries()
    console = Console(stderr=True)
    fhir, allowed = config.fhir, config.run.max_failure_rate
    server = FhirServer(to, replace=fhir.replace, server_ids=fhir.server_ids, parallel=fhir.parallel)
    started = time.monotonic()
    try:
        load = Load(path, server, f"{fhir.replace} {fhir.server_ids}", resume=resume)
        server.check()
        try:
            _run(load, console)
        except KeyboardInterrupt:
            raise KiwiError("Interrupted: go on with --resume.") from None
        finally:
            _print(load, server.base, time.monotonic() - started, console)
    finally:
        server.close()
    counts = load.counts
    refused = counts.notes["refused"]
    if counts.sent and refused / counts.sent > allowed:
        raise TooManyFailures(
            f"{refused} of {counts.sent} notes were refused, more than --max-failure-rate {allowed:g} allows: "
            f"see {load.failures_file}."
        )
    return counts


def _run(load: Load, console: Console) -> None:
    if console.is_terminal:
        with console.status("Loading") as status:
            load.run(lambda counts: status.update(f"{counts.sent:,} notes"))
        return
    said = time.monotonic()

    def plain(counts: Counts) -> None:
        nonlocal said
        if time.monotonic() - said >= _PLAIN_SECONDS:
            said = time.monotonic()
            sys.stderr.write(f"kiwi-fhir: {counts.sent:,} notes\n")

    load.run(plain)


def _print(load: Load, base: str, seconds: float, console: Console) -> None:
    counts = load.counts
    table = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
    parts = [f"{counts.sent:,} looked at", *(f"{number:,} {state}" for state, number in sorted(counts.notes.items()))]
    if counts.earlier:
        parts.append(f"{counts.earlier:,} dealt with before")
    table.add_row("notes", ", ".join(parts))
    written = [f"{number:,} {kind}" for kind, number in sorted(counts.resources.items())]
    if counts.removed:
        written.append(f"{counts.removed:,} removed")
    if written:
        table.add_row("resources", ", ".join(written))
    if counts.failures:
        table.add_row("failures", ", ".join(f"{number:,} {error}" for error, number in sorted(counts.failures.items())))
        table.add_row("", str(load.failures_file))
    speed = f", {counts.sent / seconds:.1f} notes/s" if counts.sent and seconds else ""
    table.add_row("time", f"{seconds:.1f} s{speed}")
    table.add_row("to", base)
    console.print(table)
