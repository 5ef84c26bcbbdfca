"""The job of a run on Beam. Its elements are shards, so that no step needs a shuffle.

A shard carries its own failures along: it is the unit that is written, resumed and counted, and a runner that
retries it retries all of it.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import apache_beam as beam
from apache_beam.metrics import Metrics
from apache_beam.options.pipeline_options import PipelineOptions, StandardOptions
from apache_beam.utils.shared import Shared

from kiwi_fhir.beam.options import LOCAL_RUNNER
from kiwi_fhir.config import Config
from kiwi_fhir.errors import InputError, TooManyFailures
from kiwi_fhir.extract.choice import load_for
from kiwi_fhir.extract.engine import Extractor
from kiwi_fhir.notes import Source, release
from kiwi_fhir.run.errors import home, marked
from kiwi_fhir.run.mapper import DocumentMapper
from kiwi_fhir.run.prepare import HELD, Run
from kiwi_fhir.run.progress import Progress
from kiwi_fhir.run.report import finish
from kiwi_fhir.run.shards import Input, extract_shard, map_shard, read_shards
from kiwi_fhir.types import Document, Note, Result, Shard
from kiwi_fhir.write.shards import FAILURES, Entry, is_done, read_entry, write_shard
from kiwi_fhir.write.sinks import Sink, remote_sinks
from kiwi_fhir.write.store import Store

NAMESPACE = "kiwi_fhir"
STAGES = ("read", "extract", "map", "write")


class _Timed(beam.DoFn):
    """A DoFn that counts the milliseconds of its own work."""

    stage = ""

    def _spend(self, started: float) -> None:
        Metrics.counter(NAMESPACE, f"{self.stage}_ms").inc(round(1000 * (time.monotonic() - started)))


class _Read(_Timed):
    stage = "read"

    def __init__(self, source: Source, store: Store, config: Config, fingerprint: str, progress: Progress) -> None:
        self._source, self._store, self._config, self._fingerprint = source, store, config, fingerprint
        self._progress = progress

    def process(self, item: Input) -> Iterator[Shard[Note]]:
        with marked():
            started = time.monotonic()
            for shard in read_shards(self._source, item, self._config.run.shard_notes):
                if is_done(self._store, shard, self._fingerprint):
                    self._keep(shard)
                    continue
                self._spend(started)
                yield shard
                started = time.monotonic()
            self._spend(started)

    def _keep(self, shard: Shard[Note]) -> None:
        entry = read_entry(self._store, shard.key)
        self._progress.add(entry.notes["in"] if entry else 0)
        Metrics.counter(NAMESPACE, "shards_kept").inc()


class ReadShards(beam.PTransform):
    """Inputs to shards of notes, without the shards that an earlier run finished."""

    def __init__(self, source: Source, store: Store, config: Config, fingerprint: str, progress: Progress) -> None:
        super().__init__()
        self._fn = _Read(source, store, config, fingerprint, progress)

    def expand(self, inputs: beam.PCollection[Input]) -> beam.PCollection[Shard[Note]]:
        """See the class."""
        return inputs | "Read" >> beam.ParDo(self._fn)


class _Extract(_Timed):
    stage = "extract"

    def __init__(self, load: Callable[[], Extractor], min_score: float, progress: Progress) -> None:
        self._load, self._min_score, self._progress = load, min_score, progress
        self._shared = Shared()
        self._extractor: Extractor | None = None

    def setup(self) -> None:
        # One model in a process, however many threads work on bundles.
        with marked():
            self._extractor = self._shared.acquire(self._load)

    def process(self, shard: Shard[Note]) -> Iterator[Shard[Document]]:
        assert self._extractor is not None  # noqa: S101 (Beam calls setup first)
        started = time.monotonic()
        with marked():
            found = extract_shard(self._extractor, shard, self._min_score, self._progress.add)
        self._spend(started)
        yield found


class ExtractShards(beam.PTransform):
    """Shards of notes to shards of documents; notes that the model can't read join the shard's failures.

    What has a score under `min_score` is left out of the documents.
    """

    def __init__(self, load: Callable[[], Extractor], min_score: float, progress: Progress) -> None:
        super().__init__()
        self._fn = _Extract(load, min_score, progress)

    def expand(self, notes: beam.PCollection[Shard[Note]]) -> beam.PCollection[Shard[Document]]:
        """See the class."""
        return notes | "Extract" >> beam.ParDo(self._fn)


class _Map(_Timed):
    stage = "map"

    def __init__(self, make: Callable[[], Callable[[Document], Any]]) -> None:
        self._make = make
        self._map: Callable[[Document], Any] | None = None

    def setup(self) -> None:
        with marked():
            self._map = self._make()

    def process(self, shard: Shard[Document]) -> Iterator[Shard[Result]]:
        assert self._map is not None  # noqa: S101 (Beam calls setup first)
        started = time.monotonic()
        with marked():
            found = map_shard(self._map, shard)
        self._spend(started)
        yield found


class MapShards(beam.PTransform):
    """Shards of documents to shards of bundles."""

    def __init__(self, make: Callable[[], Callable[[Document], Any]]) -> None:
        super().__init__()
        self._fn = _Map(make)

    def expand(self, documents: beam.PCollection[Shard[Document]]) -> beam.PCollection[Shard[Result]]:
        """See the class."""
        return documents | "Map" >> beam.ParDo(self._fn)


class _Write(_Timed):
    stage = "write"

    def __init__(self, store: Store, config: Config, fingerprint: str) -> None:
        self._store, self._config, self._fingerprint = store, config, fingerprint
        self._remote: list[Sink] = []

    def setup(self) -> None:
        with marked():
            self._remote = remote_sinks(self._config.run.sink, self._config)

    def teardown(self) -> None:
        for sink in self._remote:
            sink.close()

    def process(self, shard: Shard[Result]) -> Iterator[Entry]:
        started = time.monotonic()
        with marked():
            deliver = [sink.write for sink in self._remote]
            entry = write_shard(self._store, shard, self._config.run.sink, self._fingerprint, deliver)
        Metrics.counter(NAMESPACE, "shards_written").inc()
        self._spend(started)
        yield entry


class WriteShards(beam.PTransform):
    """Shards of bundles to files; the manifest's entries come out."""

    def __init__(self, store: Store, config: Config, fingerprint: str) -> None:
        super().__init__()
        self._fn = _Write(store, config, fingerprint)

    def expand(self, results: beam.PCollection[Shard[Result]]) -> beam.PCollection[Entry]:
        """See the class."""
        return results | "Write" >> beam.ParDo(self._fn)


def build(pipeline: beam.Pipeline, run: Run, progress: Progress, *, spread: bool) -> beam.PCollection[Entry]:
    """Add the stages to `pipeline`; the manifest's entries come out. Stages count what they do in `progress`.

    `spread` lets a distributed runner give the shards of one file to several workers. On the local runner a shuffle
    would hold the whole input in memory.
    """
    config = run.config
    notes = (
        pipeline
        | "Inputs" >> beam.Create(list(run.inputs), reshuffle=spread)
        | ReadShards(run.source, run.store, config, run.fingerprint, progress)
    )
    if spread:
        notes = notes | "Spread" >> beam.Reshuffle()
    return (
        notes
        | ExtractShards(partial(load_for, config.model, run.mappings), config.model.min_score, progress)
        | MapShards(partial(DocumentMapper, config, run.mappings))
        | WriteShards(run.store, config, run.fingerprint)
    )


def execute(run: Run, options: PipelineOptions, progress: Progress | None = None) -> dict[str, Any]:
    """Run the pipeline; write failures.ndjson and run.json whatever happens; return the report.

    `progress` may be looked at from another thread meanwhile. Raises InputError when an input broke off,
    TooManyFailures over the allowed rate, and what a stage or the runner raised.
    """
    if progress is None:
        with Progress() as own:
            return execute(run, options, own)
    local = options.view_as(StandardOptions).runner in (None, LOCAL_RUNNER)
    if local:
        options.view_as(StandardOptions).runner = LOCAL_RUNNER
    started = time.monotonic()
    status, error = "done", None
    seconds: dict[str, float] = {}
    counts: Counter[str] = Counter()
    try:
        pipeline = beam.Pipeline(options=options)
        build(pipeline, run, progress, spread=not local)
        result = pipeline.run()
        result.wait_until_finish()
        seconds, counts = _metrics(result)
    except BaseException as raised:
        error = KeyboardInterrupt() if progress.interrupted else home(raised)
        if error is not raised:
            error.__cause__ = raised
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
    if notes["in"] and notes["failed"] / notes["in"] > run.config.run.max_failure_rate:
        raise TooManyFailures(
            f"{notes['failed']} of {notes['in']} notes failed, more than --max-failure-rate "
            f"{run.config.run.max_failure_rate:g} allows: see {FAILURES}."
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
