"""Notes to mentions, to FHIR and to OMOP, in pipelines of your own.

    notes | ExtractMentions() | MapToFhir()          # PCollection[Note] to bundles and failures

A note that can't be read or mapped is a Failure in the second output and stops nothing else. Windows and timestamps of
the notes stay those of what becomes of them, on bounded and unbounded input. All steps take one Config, and what comes
out is what `kiwi-fhir run` writes. A step carries the failures of the step before it: who maps the same documents twice
finds them in both. DaskRunner drops second outputs, so it is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple

import apache_beam as beam
from apache_beam.metrics import Metrics
from apache_beam.transforms.core import Windowing
from apache_beam.utils.shared import Shared
from apache_beam.utils.windowed_value import WindowedValue

from kiwi_fhir.beam.gather import GatherNotes, Held
from kiwi_fhir.config import Config
from kiwi_fhir.errors import UsageError
from kiwi_fhir.extract.choice import load_for
from kiwi_fhir.extract.engine import Extractor, chunks, extract
from kiwi_fhir.run.mapper import DocumentMapper
from kiwi_fhir.run.shards import map_document
from kiwi_fhir.tables import Mappings
from kiwi_fhir.types import Document, Failure, Note, NoteRows, Result

NAMESPACE = "kiwi_fhir"
FAILURES, MAIN = "failures", "main"


class Documents(NamedTuple):
    """What ExtractMentions makes. `failures` also has the parts of notes that were lost (`Failure.kept`)."""

    documents: beam.PCollection[Document]
    failures: beam.PCollection[Failure]


class Results(NamedTuple):
    """What MapToFhir makes: `results` with bundles as JSON; `failures` of this step and of the one before it."""

    results: beam.PCollection[Result]
    failures: beam.PCollection[Failure]


class Rows(NamedTuple):
    """What MapToOmop makes: the rows of each note; `failures` of this step and of the one before it."""

    rows: beam.PCollection[NoteRows]
    failures: beam.PCollection[Failure]


class ExtractMentions(beam.PTransform):
    """Notes to documents and failures.

    `config` names the model, its device and threads, mapping files and the lowest score. Notes are gathered into
    batches of the engine's size (CHUNK_NOTES, CHUNK_CHARACTERS) within a bundle; of unbounded input, whose bundles are
    small, across bundles, for `max_wait` seconds at most (0: within a bundle). The watermark waits with the notes, and
    a late note is read like any other.
    """

    def __init__(self, config: Config | None = None, *, max_wait: float = 1.0) -> None:
        super().__init__()
        self._config, self._max_wait = config or Config(), max_wait

    def expand(self, notes: beam.PCollection[Note]) -> Documents:
        """See the class. Raises UsageError on a runner that can't have two outputs."""
        _check_runner(notes.pipeline)
        batches = notes | "Gather" >> GatherNotes(self._max_wait)
        fn = _Extract(partial(load_for, self._config.model, _mappings(self._config)), self._config.model.min_score)
        found = batches | "Extract" >> _InWindows(fn, notes.windowing).with_outputs(FAILURES, main=MAIN)
        return Documents(found[MAIN], found[FAILURES])


class MapToFhir(beam.PTransform):
    """Documents to bundles: each becomes a Result, whose `bundle` is a line of JSON.

    Takes a PCollection[Document] or what ExtractMentions made, whose failures then come out here too. `config` names
    mappings and terminology, and the model that found the mentions, for Provenance.
    """

    def __init__(self, config: Config | None = None) -> None:
        super().__init__()
        self._config = config or Config()

    def expand(self, documents: beam.PCollection[Document] | Documents) -> Results:
        """See the class. Raises UsageError on a runner that can't have two outputs."""
        fn = _Map(partial(DocumentMapper, self._config, _mappings(self._config)), DocumentMapper.__call__)
        return Results(*_map(documents, beam.ParDo(fn).with_output_types(Result, failures=Failure)))


class MapToOmop(beam.PTransform):
    """Documents to the rows that each has in an OMOP database: NoteRows. Takes what MapToFhir takes."""

    def __init__(self, config: Config | None = None) -> None:
        super().__init__()
        self._config = config or Config()

    def expand(self, documents: beam.PCollection[Document] | Documents) -> Rows:
        """See the class. Raises UsageError on a runner that can't have two outputs."""
        fn = _Map(partial(DocumentMapper, self._config, _mappings(self._config), rows=True), DocumentMapper.rows)
        return Rows(*_map(documents, beam.ParDo(fn).with_output_types(NoteRows, failures=Failure)))


def _map(documents: beam.PCollection[Document] | Documents, step: beam.ParDo) -> tuple[Any, Any]:
    earlier = (documents.failures,) if isinstance(documents, Documents) else ()
    found = documents.documents if isinstance(documents, Documents) else documents
    _check_runner(found.pipeline)
    mapped = found | "Map" >> step.with_outputs(FAILURES, main=MAIN)
    failures = mapped[FAILURES]
    if earlier:
        failures = (*earlier, failures) | "Failures" >> beam.Flatten()
    return mapped[MAIN], failures


def _mappings(config: Config) -> Mappings:
    """Read where the pipeline is built: a worker needs no such files."""
    return Mappings.read(config.mapping.mappings)


def _check_runner(pipeline: beam.Pipeline) -> None:
    if any(kind.__name__ == "DaskRunner" for kind in type(pipeline.runner).__mro__):
        raise UsageError("DaskRunner drops the failures of these transforms: use another runner, or `kiwi-fhir run`.")


class _InWindows(beam.ParDo):
    """A ParDo whose outputs are in windows of `windowing`, as each of its outputs says itself."""

    def __init__(self, fn: beam.DoFn, windowing: Windowing) -> None:
        super().__init__(fn)
        self._restored = windowing

    def get_windowing(self, inputs: Any) -> Windowing:
        """See PTransform.get_windowing."""
        return self._restored


@beam.typehints.with_input_types(list[Held])
@beam.typehints.with_output_types(Document, failures=Failure)
class _Extract(beam.DoFn):
    """The batches' notes through the model; one model in a process, however many threads work on bundles."""

    def __init__(self, load: Callable[[], Extractor], min_score: float) -> None:
        self._load, self._min_score = load, min_score
        self._shared = Shared()
        self._extractor: Extractor | None = None

    def setup(self) -> None:
        self._extractor = self._shared.acquire(self._load)

    def process(self, batch: list[Held]) -> Iterator[Any]:
        assert self._extractor is not None  # noqa: S101 (Beam calls setup first)
        Metrics.distribution(NAMESPACE, "batch_notes").update(len(batch))
        notes = [note for note, _, _ in batch]
        results = (
            found for chunk in chunks(notes) for found in extract(self._extractor, chunk, min_score=self._min_score)
        )
        for (_, timestamp, window), found in zip(batch, results, strict=True):
            failures: tuple[Failure, ...] = (found,) if isinstance(found, Failure) else found.failures
            Metrics.counter(NAMESPACE, "notes_failed" if isinstance(found, Failure) else "notes_read").inc()
            if isinstance(found, Document):
                yield WindowedValue(found, timestamp, (window,))
            for failure in failures:
                yield beam.pvalue.TaggedOutput(FAILURES, WindowedValue(failure, timestamp, (window,)))


@beam.typehints.with_input_types(Document)
class _Map(beam.DoFn):
    """Documents through a mapper: `map_one` is what of it is asked for."""

    def __init__(self, make: Callable[[], DocumentMapper], map_one: Callable[[DocumentMapper, Document], Any]) -> None:
        self._make, self._map_one = make, map_one
        self._mapper: DocumentMapper | None = None

    def setup(self) -> None:
        self._mapper = self._make()

    def process(self, document: Document) -> Iterator[Any]:
        assert self._mapper is not None  # noqa: S101 (Beam calls setup first)
        if document.model != self._mapper.model:
            raise UsageError(
                f"These documents are by {document.model}, but the config names {self._mapper.model}: "
                "give this step the config of the step that made them."
            )
        found, failures = map_document(partial(self._map_one, self._mapper), document)
        Metrics.counter(NAMESPACE, "notes_not_mapped" if found is None else "notes_mapped").inc()
        if found is not None:
            yield found
        for failure in failures:
            yield beam.pvalue.TaggedOutput(FAILURES, failure)
