"""`kiwi-fhir notes`: the notes of any source as FHIR DocumentReferences, without a model."""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from datetime import tzinfo
from pathlib import Path
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from rich.console import Console
from rich.table import Table

from kiwi_fhir.cli.run import input_files, quiet_libraries
from kiwi_fhir.config import Config
from kiwi_fhir.errors import InputError, TooManyFailures, Unavailable, UsageError
from kiwi_fhir.fhir import to_json
from kiwi_fhir.fhir.document_reference import document_reference
from kiwi_fhir.fhir.r4.validate import check_resource
from kiwi_fhir.fhir.rules import Rules, load_rules
from kiwi_fhir.notes import Source, release
from kiwi_fhir.tables import Mappings
from kiwi_fhir.types import Failure, Note
from kiwi_fhir.write.shards import failure_lines
from kiwi_fhir.write.store import LocalStore

_GZIP = 16 + zlib.MAX_WBITS  # a header without a time or a name, so that two runs give the same bytes
_FAILURES = ".failures.jsonl"  # no name that a source of FHIR resources would take for its own
_SHOWN_EVERY = 1000


def write_notes(kind: str, inputs: Sequence[str], output: Path, config: Config, *, time_zone: str | None = None) -> int:
    """Write one DocumentReference a line to `output` (gzip where its name ends in `.gz`) and give their number.

    Notes that can't be read, and those without a text, go to NAME.failures.jsonl beside it. `time_zone` (its IANA name)
    is that of times that state none. Raises UsageError for a call that can't work, InputError where an input broke off
    (what came before it is written), TooManyFailures over `config.run.max_failure_rate`.
    """
    quiet_libraries()
    from kiwi_fhir.run.prepare import open_source

    mappings = Mappings.read(config.mapping.mappings)
    rules, zone = load_rules(mappings), _zone(time_zone)
    source, paths = open_source(kind, inputs, config, mappings, input_files(kind, inputs))
    try:
        return _write(source, paths, output, config, rules, zone)
    finally:
        release(source)


def _write(
    source: Source, paths: Sequence[str], output: Path, config: Config, rules: Rules, zone: tzinfo | None
) -> int:
    console = Console(stderr=True)
    failures: list[Failure] = []
    broken: list[str] = []
    counts: Counter[str] = Counter()

    def found() -> Iterator[Note | Failure]:
        for path in paths:
            try:
                yield from source.read(path)
            except InputError as error:
                broken.append(str(error))
            except Unavailable as error:
                broken.append(str(error))
                return

    def lines() -> Iterator[bytes]:
        for item in found():
            line = item if isinstance(item, Failure) else _line(item, rules, zone)
            if isinstance(line, Failure):
                failures.append(line)
                continue
            counts["written"] += 1
            yield line

    store = LocalStore(str(output.parent))
    with console.status("Reading") as status:

        def shown() -> Iterator[bytes]:
            for line in lines():
                if counts["written"] % _SHOWN_EVERY == 0:
                    status.update(f"{counts['written']:,} notes")
                yield line

        store.write(output.name, _gzipped(shown()) if output.name.endswith(".gz") else shown())
    beside = f"{output.name.removesuffix('.gz').removesuffix('.ndjson')}{_FAILURES}"
    store.remove(beside)
    if failures:
        store.write(beside, failure_lines(failures))
    _print(counts["written"], failures, source.dropped, output, console)
    if broken:
        raise InputError(" ".join(dict.fromkeys(broken)))
    total = counts["written"] + len(failures)
    if failures and len(failures) / total > config.run.max_failure_rate:
        raise TooManyFailures(
            f"{len(failures)} of {total} notes failed, more than --max-failure-rate "
            f"{config.run.max_failure_rate:g} allows: see {output.parent / beside}."
        )
    return counts["written"]


def _line(note: Note, rules: Rules, zone: tzinfo | None) -> bytes | Failure:
    if not note.text:
        return Failure(note.id, "fhir", "no-text", "The note has no text.")
    resource = document_reference(note, rules, zone)
    findings = check_resource(resource)
    if findings:
        said = "; ".join(f"{finding.path}: {finding.rule}, {finding.message}" for finding in findings[:3])
        return Failure(note.id, "fhir", "invalid-resource", said)
    return to_json(resource) + b"\n"


def _zone(name: str | None) -> tzinfo | None:
    try:
        return None if name is None else ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise UsageError(f"The time zone '{name}' is unknown: use a name such as America/New_York.") from error


def _gzipped(chunks: Iterable[bytes]) -> Iterator[bytes]:
    packer = zlib.compressobj(6, zlib.DEFLATED, _GZIP)
    for chunk in chunks:
        if packed := packer.compress(chunk):
            yield packed
    yield packer.flush()


def _print(written: int, failures: Sequence[Failure], dropped: int, output: Path, console: Console) -> None:
    table = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
    table.add_row("notes", f"{written:,} written, {len(failures):,} failed, {dropped:,} left out by the source")
    for error, number in sorted(Counter(failure.error for failure in failures).items()):
        table.add_row("", f"{number:,} {error}")
    table.add_row("output", str(output))
    console.print(table)
