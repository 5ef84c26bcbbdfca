"""The pipeline that joins the stages, and the run around it: what was done before, what came out, what went wrong."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import apache_beam as beam
import orjson
from apache_beam.options.pipeline_options import PipelineOptions, StandardOptions

from kiwi_fhir import __version__
from kiwi_fhir.run import progress
from kiwi_fhir.beam.files import files_for, store_for
from kiwi_fhir.run.mapper import DocumentMapper
from kiwi_fhir.run.shards import Input, plan_inputs
from kiwi_fhir.beam.job import NAMESPACE, Extract, MapToFhir, ReadNotes, WriteShards
from kiwi_fhir.config import Config
from kiwi_fhir.errors import InputError, KiwiError, TooManyFailures, UsageError
from kiwi_fhir.extract import ModelChoice
from kiwi_fhir.run.memory import peak_memory
from kiwi_fhir.notes import Holding, Source, factory_for, release, server_source
from kiwi_fhir.tables import fingerprint as tables_fingerprint
from kiwi_fhir.write.shards import (
    FAILURES,
    MANIFEST,
    Entry,
    entries,
    remove_entry,
    remove_leftovers,
)
from kiwi_fhir.write.sinks import remote_sinks
from kiwi_fhir.write.store import Store

REPORT = "run.json"
#: What a server holds for a run that has not come to its end.
HELD = f"{MANIFEST}/held"
#: In-memory runner of Beam, by name: `DirectRunner` tries to download another one first.
LOCAL_RUNNER = "FnApiRunner"
STAGES = ("read", "extract", "map", "write")


@dataclass(frozen=True, slots=True)
class Run:
    """A run that was checked and can start: sources are there, the model is whole, the output folder is free."""

    source: Source
    inputs: tuple[Input, ...]
    store: Store
    config: Config
    versions: dict[str, str]

    @property
    def fingerprint(self) -> str:
        """What decides the results beside the notes: program, model, mapping, config."""
        return self.config.fingerprint(**self.versions)


def prepare(
    kind: str, inputs: Sequence[str], output: str, config: Config, *, resume: bool = False, replace: bool = False
) -> Run:
    """Check everything that can be checked before the first note is read.

    `resume` goes on with the run that the output holds, `replace` removes it. Raises UsageError (and its kinds) for a
    call that can't work.
    """
    remote = remote_sinks(config.sinks, config)
    store = store_for(output)
    done = list(entries(store))
    if done and not (resume or replace):
        raise UsageError(f"{output} holds a run already: add --resume to go on with it, or name another folder.")
    held = (store.read(HELD) or b"").decode() if resume else ""
    source, paths = open_source(kind, inputs, config, held or None)
    try:
        versions = _versions(kind, config)
        for sink in remote:
            sink.check()
            sink.close()
        if isinstance(source, Holding) and source.held is not None:
            store.write(HELD, [source.held.encode()])
    except BaseException:
        _let_go(source, held or None)
        raise
    if replace:
        for entry in done:
            remove_entry(store, entry)
    remove_leftovers(store)
    planned = plan_inputs(paths, one_note_each=kind == "text", shard_notes=config.shard_notes)
    return Run(source, tuple(planned), store, config, versions)


def _versions(kind: str, config: Config) -> dict[str, str]:
    mapper = DocumentMapper(config)
    return {
        "program": __version__,
        "model": mapper.model,
        "mappings": tables_fingerprint(config.tables),
        "terminology": mapper.terminology,
        "source": kind,
        **({"ids": mapper.ids} if mapper.ids else {}),
    }


def open_source(kind: str, inputs: Sequence[str], config: Config, held: str | None = None) -> tuple[Source, list[str]]:
    """The source of this kind and its files, looked at. Raises UsageError for what is not there or not of the kind.

    `held` is what a server still holds for an earlier run; who is done with the source calls `release`.
    """
    source = server_source(kind, config) or factory_for(kind, inputs)(files_for(inputs), config.tables)
    if isinstance(source, Holding):
        source.held = held
    try:
        return source, source.files(inputs)
    except BaseException:
        _let_go(source, held)
        raise


def _let_go(source: Source, held: str | None) -> None:
    """Release what a source has just had made; what an earlier run left is for the next one."""
    if isinstance(source, Holding) and source.held != held:
        source.release()


def build(pipeline: beam.Pipeline, run: Run, *, spread: bool) -> beam.PCollection[Entry]:
    """Add the stages to `pipeline`; the manifest's entries come out.

    `spread` lets a distributed runner give the shards of one file to several workers. On the local runner a shuffle
    would hold the whole input in memory.
    """
    config = run.config
    load_model = partial(
        ModelChoice.of(config).load, threads=config.threads, device=config.device, tables=config.tables
    )
    notes = (
        pipeline
        | "Inputs" >> beam.Create(list(run.inputs), reshuffle=spread)
        | ReadNotes(run.source, run.store, config, run.fingerprint)
    )
    if spread:
        notes = notes | "Spread" >> beam.Reshuffle()
    return (
        notes
        | Extract(load_model, config.min_score)
        | MapToFhir(partial(DocumentMapper, config))
        | WriteShards(run.store, config, run.fingerprint)
    )


def execute(run: Run, options: PipelineOptions) -> dict[str, Any]:
    """Run the pipeline; write failures.ndjson and run.json whatever happens; return the report.

    Raises InputError when an input broke off, TooManyFailures over the allowed rate, and what the runner raised.
    """
    local = options.view_as(StandardOptions).runner in (None, LOCAL_RUNNER)
    if local:
        options.view_as(StandardOptions).runner = LOCAL_RUNNER
    started = time.monotonic()
    progress.reset()
    status, error = "done", None
    seconds: dict[str, float] = {}
    counts: Counter[str] = Counter()
    try:
        pipeline = beam.Pipeline(options=options)
        build(pipeline, run, spread=not local)
        result = pipeline.run()
        result.wait_until_finish()
        seconds, counts = _metrics(result)
    except BaseException as raised:
        error = progress.first_error() or raised
        status = "interrupted" if isinstance(error, KeyboardInterrupt) else "failed"
    report = finish(run, status, time.monotonic() - started, seconds, counts, error)
    if status == "done":  # else --resume goes on with what a server holds
        release(run.source)
        run.store.remove(HELD)
    if error is not None:
        raise error
    errors = report["errors"]
    if errors:
        raise InputError(" ".join(errors))
    notes = report["notes"]
    if notes["in"] and notes["failed"] / notes["in"] > run.config.max_failure_rate:
        raise TooManyFailures(
            f"{notes['failed']} of {notes['in']} notes failed, more than --max-failure-rate "
            f"{run.config.max_failure_rate:g} allows: see {FAILURES}."
        )
    return report


def _metrics(result: Any) -> tuple[dict[str, float], Counter[str]]:
    """Seconds by stage and our counters, as far as the runner reports them."""
    found: Counter[str] = Counter()
    try:
        counters = result.metrics().query(beam.metrics.MetricsFilter().with_namespace(NAMESPACE))["counters"]
    except (NotImplementedError, AttributeError, KeyError):
        return {}, found
    for counter in counters:
        found[counter.key.metric.name] += counter.result or 0
    return {stage: found[f"{stage}_ms"] / 1000 for stage in STAGES}, found


def finish(
    run: Run,
    status: str,
    total: float,
    seconds: dict[str, float],
    counts: Counter[str],
    error: BaseException | None = None,
) -> dict[str, Any]:
    """Gather what the manifest says into failures.ndjson and run.json; remove shards that this input has no more."""
    kept = list(_current(run, complete=status == "done"))
    sums: dict[str, Counter[str]] = {
        name: Counter() for name in ("notes", "mentions", "modifiers", "resources", "not_mapped", "failures")
    }
    for entry in kept:
        for name, counter in sums.items():
            counter.update(getattr(entry, name))
    run.store.write(
        FAILURES, (run.store.read(f"{MANIFEST}/{entry.key}.{FAILURES}") or b"" for entry in kept if entry.failures)
    )
    out = sums["notes"]["out"]
    errors = list(dict.fromkeys(entry.error for entry in kept if entry.error))
    if error is not None:  # a foreign exception's message may hold note text
        errors.append(str(error) if isinstance(error, KiwiError) else type(error).__name__)
    notes = {key: sums["notes"][key] for key in ("in", "out", "failed", "dropped", "empty", "without_patient")}
    report = {
        "status": "failed" if errors and status == "done" else status,
        "errors": errors,
        "notes": notes,
        **{name: dict(sorted(counter.items())) for name, counter in sums.items() if name != "notes"},
        "shards": {"all": len(kept), "written": counts["shards_written"], "kept": counts["shards_kept"]},
        "versions": run.versions,
        "fingerprint": run.fingerprint,
        "seconds": {**{stage: round(value, 3) for stage, value in seconds.items()}, "total": round(total, 3)},
        "memory": peak_memory(),
        "notes_per_second": round(out / total, 2) if total and not counts["shards_kept"] else None,
    }
    run.store.write(REPORT, [orjson.dumps(report, option=orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS), b"\n"])
    return report


def read_report(run: Run) -> dict[str, Any]:
    """The report that `execute` wrote, also where it raised afterwards."""
    report: dict[str, Any] = orjson.loads(run.store.read(REPORT) or b"{}")
    return report


def _current(run: Run, *, complete: bool) -> Iterator[Entry]:
    """The entries of this run. After a complete run others are removed: their notes are gone from the input."""
    keys = {item.key for item in run.inputs}
    ends: dict[str, int] = {}
    found = [entry for entry in entries(run.store) if entry.fingerprint == run.fingerprint]
    for entry in found:
        item, _, number = entry.key.rpartition("-")
        if entry.last:
            ends[item] = min(int(number), ends.get(item, int(number)))
    for entry in entries(run.store):
        item, _, number = entry.key.rpartition("-")
        stale = item not in keys or int(number) > ends.get(item, int(number)) or entry.fingerprint != run.fingerprint
        if not stale:
            yield entry
        elif complete:
            remove_entry(run.store, entry)


def options_of(arguments: Sequence[str]) -> PipelineOptions:
    """Beam's options. Raises UsageError for one that Beam can't read."""
    try:
        return PipelineOptions(list(arguments), save_main_session=False)
    except SystemExit as error:
        raise UsageError("Beam does not understand the options after `--`: see its PipelineOptions.") from error
