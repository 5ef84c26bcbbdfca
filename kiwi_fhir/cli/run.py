"""`kiwi-fhir run`: check, run with a progress display, report."""

from __future__ import annotations

import logging
import signal
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

from kiwi_fhir.config import Config
from kiwi_fhir.errors import KiwiError
from kiwi_fhir.notes import LOCAL, SERVERS, Files
from kiwi_fhir.notes.sql import is_database

if TYPE_CHECKING:
    from kiwi_fhir.run.progress import Progress

_PLAIN_SECONDS = 30.0


def run_pipeline(
    kind: str,
    inputs: Sequence[str],
    output: str,
    config: Config,
    beam_options: Sequence[str],
    *,
    resume: bool = False,
    replace: bool = False,
    dry_run: bool = False,
) -> dict[str, Any]:
    """Run the pipeline and print its report; `dry_run` only counts and estimates."""
    console = Console(stderr=True)
    quiet_libraries()
    with console.status("Starting") if console.is_terminal else _nothing():
        if dry_run:
            from kiwi_fhir.cli.dry_run import estimate

            if beam_options:  # a wrong one is told now
                from kiwi_fhir.beam.options import options_of

                options_of(beam_options)
            return estimate(kind, inputs, config, console)

        from kiwi_fhir.beam.files import store_for
        from kiwi_fhir.beam.job import execute
        from kiwi_fhir.beam.options import options_of
        from kiwi_fhir.run.prepare import prepare
        from kiwi_fhir.run.progress import Progress
        from kiwi_fhir.run.report import read_report

        options = options_of(beam_options)
        run = prepare(
            kind,
            inputs,
            config,
            files=input_files(kind, inputs),
            store=store_for(output),
            resume=resume,
            replace=replace,
        )
    try:
        with Progress() as progress, _interruptible(progress), _shown(progress, console):
            report = execute(run, options, progress)
    except KeyboardInterrupt:
        raise KiwiError(f"Interrupted: what was finished is in {output}; go on with --resume.") from None
    except KiwiError:
        print_report(read_report(run), output, console)
        raise
    print_report(report, output, console)
    return report


@contextmanager
def _interruptible(progress: Progress) -> Iterator[None]:
    """SIGTERM ends a run as Ctrl-C does: with its report. The runner may swallow the exception, so it is noted too."""

    def interrupt(*_: Any) -> None:
        progress.interrupted = True
        raise KeyboardInterrupt

    earlier = {number: signal.signal(number, interrupt) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in earlier.items():
            signal.signal(number, handler)


def input_files(kind: str, inputs: Sequence[str]) -> Files:
    """The file system of the inputs; only the URLs of files need Beam's."""
    if kind in SERVERS or any(map(is_database, inputs)) or not any("://" in item for item in inputs):
        return LOCAL
    from kiwi_fhir.beam.files import BeamFiles

    return BeamFiles()


def quiet_libraries() -> None:
    """Keep libraries from logging: their lines may hold elements, and elements hold notes."""
    logging.getLogger().setLevel(logging.CRITICAL)


@contextmanager
def _nothing() -> Iterator[None]:
    yield


@contextmanager
def _shown(progress: Progress, console: Console) -> Iterator[None]:
    """Notes done and notes a second: a live line on a terminal, a plain line now and then elsewhere."""
    stop = threading.Event()
    started = time.monotonic()

    def line() -> str:
        seconds, done = max(time.monotonic() - started, 1e-9), progress.done()
        return f"{done:,} notes, {done / seconds:.1f} notes/s, {seconds:.0f} s"

    def plain() -> None:
        while not stop.wait(_PLAIN_SECONDS):
            sys.stderr.write(f"kiwi-fhir: {line()}\n")
            sys.stderr.flush()

    def live() -> None:
        with console.status("Loading the model") as status:
            while not stop.wait(0.25):
                if progress.done():
                    status.update(line())

    thread = threading.Thread(target=live if console.is_terminal else plain, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def print_report(report: dict[str, Any], output: str, console: Console) -> None:
    """The run's counts as a small table."""
    notes = report["notes"]
    table = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
    parts = [f"{notes['in']:,} in", f"{notes['out']:,} out", f"{notes['failed']:,} failed"]
    for key, words in (
        ("dropped", "left out by the source"),
        ("empty", "without text"),
        ("without_patient", "without a patient"),
    ):
        if notes[key]:
            parts.append(f"{notes[key]:,} {words}")
    table.add_row("notes", ", ".join(parts))
    for name in ("mentions", "resources", "merged", "conflicts", "not_mapped", "failures"):
        if report[name]:
            table.add_row(
                name.replace("_", " "), ", ".join(f"{count:,} {label}" for label, count in report[name].items())
            )
    speed = f", {report['notes_per_second']:g} notes/s" if report["notes_per_second"] else ""
    table.add_row("time", f"{report['seconds']['total']:.1f} s{speed}")
    if report["shards"]["kept"]:
        table.add_row("shards", f"{report['shards']['written']} written, {report['shards']['kept']} kept")
    table.add_row("output", output)
    console.print(table)
