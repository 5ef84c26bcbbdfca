"""The transforms in a pipeline of one's own: what a run writes, on bounded and unbounded input, and nothing lost."""

import hashlib
import os
import shutil
from collections.abc import Iterator
from importlib.resources import files
from typing import get_type_hints

import apache_beam as beam
import pytest
from apache_beam.options.pipeline_options import PipelineOptions, StandardOptions
from apache_beam.testing.test_stream import TestStream
from apache_beam.testing.util import assert_that, equal_to
from apache_beam.transforms.window import FixedWindows, IntervalWindow, TimestampedValue

from kiwi_fhir.beam import ExtractMentions, MapToFhir, MapToOmop
from kiwi_fhir.beam.coders import DataclassCoder
from kiwi_fhir.beam.files import files_for, store_for
from kiwi_fhir.beam.gather import GatherNotes
from kiwi_fhir.beam.job import execute
from kiwi_fhir.beam.options import options_of
from kiwi_fhir.config import Config
from kiwi_fhir.errors import UsageError
from kiwi_fhir.notes import LOCAL, factory_for
from kiwi_fhir.run.prepare import prepare
from kiwi_fhir.types import Document, Mention, ModelId, Note, Result, Shard, Span
from kiwi_fhir.write.shards import Entry

TestStream.__test__ = False  # pytest would take it for a test
CONFIG = Config().with_options(device="cpu", threads=1)
DEMO = str(files("kiwi_fhir.demo") / "DocumentReference.ndjson")
#: Beam's Go runner, where there is one; it alone holds a stream's watermark as engines do.
PRISM = os.environ.get("PRISM") or shutil.which("prism")
STREAMING = [
    pytest.param(("--runner=BundleBasedDirectRunner",), id="direct"),
    pytest.param(
        ("--runner=PrismRunner", f"--prism_location={PRISM}"),
        id="prism",
        marks=pytest.mark.skipif(PRISM is None, reason="no prism on the path"),
    ),
]
LOOPBACK = ("--runner=PortableRunner", "--job_endpoint=embed", "--environment_type=LOOPBACK")
BROKEN = "\ud800"  # no tokenizer takes half a character


@pytest.fixture(scope="module")
def notes():
    return list(factory_for("document-reference", [DEMO])(LOCAL, None).read(DEMO))


@pytest.fixture(scope="module")
def bundles(notes, tmp_path_factory):
    """What `kiwi-fhir run` writes of the demo notes, as hashes."""
    output = tmp_path_factory.mktemp("run") / "out"
    ready = prepare("document-reference", [DEMO], CONFIG, files=files_for([]), store=store_for(str(output)))
    execute(ready, options_of(()))
    lines = [line for path in sorted((output / "bundles").iterdir()) for line in path.read_bytes().splitlines()]
    assert len(lines) == len(notes) > 10
    return [hashlib.sha256(line).hexdigest() for line in lines]


def digest(result):
    return hashlib.sha256(result.bundle).hexdigest()


def streaming(options):
    made = PipelineOptions(list(options))
    made.view_as(StandardOptions).streaming = True
    return made


def stream():
    return TestStream(coder=DataclassCoder(Note))


class Placed(beam.DoFn):
    """The id of what comes by, with its time and window."""

    def process(self, found, timestamp=beam.DoFn.TimestampParam, window=beam.DoFn.WindowParam):
        note = found if isinstance(found, str) else getattr(found, "document", found)
        name = note if isinstance(note, str) else note.note.id if isinstance(note, Document) else note.note_id
        yield name, float(timestamp), window


@pytest.mark.parametrize("options", [(), LOOPBACK], ids=["local", "portable"])
def test_a_bounded_collection_gives_the_bundles_of_a_run(notes, bundles, options):
    with beam.Pipeline(options=options_of(options)) as pipeline:
        found = pipeline | beam.Create(notes) | ExtractMentions(CONFIG) | MapToFhir(CONFIG)
        assert_that(found.results | beam.Map(digest), equal_to(bundles))
        assert_that(found.failures, equal_to([]), label="failures")


@pytest.mark.parametrize("options", STREAMING)
def test_a_stream_gives_the_bundles_of_a_run(notes, bundles, options):
    """Notes that come one after the other are read together: the same company, so the same digits of confidences."""
    source = stream().advance_watermark_to(0)
    for second, note in enumerate(notes):
        source = source.add_elements([TimestampedValue(note, second)])
    with beam.Pipeline(options=streaming(options)) as pipeline:
        arriving = pipeline | source.advance_watermark_to(60).advance_watermark_to_infinity()
        found = arriving | beam.WindowInto(FixedWindows(60)) | ExtractMentions(CONFIG) | MapToFhir(CONFIG)
        assert_that(found.results | beam.Map(digest), equal_to(bundles))
        assert_that(found.failures, equal_to([]), label="failures")


@pytest.mark.parametrize("max_wait", [1.0, 0])
@pytest.mark.parametrize("options", STREAMING)
def test_windows_and_times_stay_and_a_late_note_is_read(options, max_wait):
    source = (
        stream()
        .advance_watermark_to(0)
        .add_elements([TimestampedValue(Note("first", "He has fever."), 1)])
        .add_elements([TimestampedValue(Note("second", "No fever."), 59), TimestampedValue(Note("bad", BROKEN), 30)])
        .advance_processing_time(10)
        .advance_watermark_to(60)
        .add_elements([TimestampedValue(Note("next", "Chills."), 61)])
        .advance_watermark_to(200)
        .add_elements([TimestampedValue(Note("late", "Cough."), 5)])
        .advance_watermark_to_infinity()
    )
    one, two = IntervalWindow(0, 60), IntervalWindow(60, 120)
    with beam.Pipeline(options=streaming(options)) as pipeline:
        windowed = pipeline | source | beam.WindowInto(FixedWindows(60))
        found = windowed | ExtractMentions(CONFIG, max_wait=max_wait) | MapToFhir(CONFIG)
        placed = found.results | "Results" >> beam.ParDo(Placed())
        expected = [("first", 1.0, one), ("second", 59.0, one), ("next", 61.0, two), ("late", 5.0, one)]
        assert_that(placed, equal_to(expected), label="results")
        failed = found.failures | "Failures" >> beam.ParDo(Placed())
        assert_that(failed, equal_to([("bad", 30.0, one)]), label="failures")
        if any("Prism" in option for option in options):  # what was on time is, behind the model too
            grouped = found.results | beam.Map(lambda result: (0, result.document.note.id)) | beam.GroupByKey()
            on_time = grouped | beam.Map(lambda pair: sorted(pair[1]))
            assert_that(on_time, equal_to([["first", "second"], ["next"]]), label="groups")


@pytest.mark.parametrize("max_wait", [1.0, 0])
@pytest.mark.parametrize("streamed", [False, True])
def test_batches_end_when_they_are_full(streamed, max_wait):
    """130 notes of one bundle are a batch of 128 and one of two; in 13 bundles only where they wait for each other."""
    notes = [Note(f"{number:03}", "No fever.") for number in range(130)]
    source = stream().advance_watermark_to(0)
    for start in range(0, 130, 10):
        source = source.add_elements([TimestampedValue(note, 1) for note in notes[start : start + 10]])
    source = source.advance_watermark_to(60).advance_watermark_to_infinity()
    options = streaming(("--runner=BundleBasedDirectRunner",)) if streamed else options_of(())
    with beam.Pipeline(options=options) as pipeline:
        arriving = pipeline | (source if streamed else beam.Create(notes)) | beam.WindowInto(FixedWindows(60))
        sizes = arriving | GatherNotes(max_wait) | beam.Map(len)
        assert_that(sizes, equal_to([10] * 13 if streamed and not max_wait else [128, 2]))


def test_a_batch_ends_at_its_characters():
    notes = [Note(str(number), "x" * 150_000) for number in range(5)]
    with beam.Pipeline(options=options_of(())) as pipeline:
        assert_that(pipeline | beam.Create(notes) | GatherNotes(0) | beam.Map(len), equal_to([3, 2]))


def test_a_document_that_can_not_be_mapped_is_a_failure(notes):
    with beam.Pipeline(options=options_of(())) as pipeline:
        documents = pipeline | beam.Create(notes[:1]) | ExtractMentions(CONFIG)
        broken = documents.documents | beam.Map(
            lambda document: Document(document.note, (Mention("nonsense", Span(0, 1)),), document.model)
        ).with_output_types(Document)
        found = broken | MapToFhir(CONFIG)
        assert_that(found.results, equal_to([]))
        failed = found.failures | beam.Map(lambda failure: (failure.stage, failure.error, bool(failure.at)))
        assert_that(failed, equal_to([("map", "mapping-error", True)]), label="failures")


def test_documents_of_another_model_are_refused():
    other = Document(Note("a", "Fever."), (), ModelId("other", "1", "0"))
    with (
        pytest.raises(Exception, match="These documents are by other-1-0, but the config names kiwi-minilm"),
        beam.Pipeline(options=options_of(())) as pipeline,
    ):
        _ = pipeline | beam.Create([other]) | MapToFhir(CONFIG)


def test_omop_rows_and_their_failures():
    notes = [Note("12", "He has fever.", patient_id="7"), Note("no-number", "Fever."), Note("broken", BROKEN)]
    with beam.Pipeline(options=options_of(())) as pipeline:
        found = pipeline | beam.Create(notes) | ExtractMentions(CONFIG) | MapToOmop(CONFIG)
        rows = found.rows | beam.Map(lambda rows: (rows.note_id, len(rows.tables["note_nlp"])))
        assert_that(rows, equal_to([(12, 1)]))
        failed = found.failures | beam.Map(lambda failure: (failure.note_id, failure.error))
        assert_that(failed, equal_to([("no-number", "unmapped-note"), ("broken", "model-error")]), label="failures")


def test_types_are_checked_when_the_pipeline_is_built():
    pipeline = beam.Pipeline(options=options_of(()))
    texts = pipeline | beam.Create(["Fever."])
    with pytest.raises(beam.typehints.TypeCheckError, match="Note"):
        _ = texts | ExtractMentions(CONFIG)
    with pytest.raises(beam.typehints.TypeCheckError, match="Document"):
        _ = texts | MapToFhir(CONFIG)
    found = pipeline | "Notes" >> beam.Create([Note("a", "Fever.")]) | "Extract them" >> ExtractMentions(CONFIG)
    assert (found.documents.element_type.__name__, found.failures.element_type.__name__) == ("Document", "Failure")


def test_a_runner_that_drops_second_outputs_is_refused():
    class DaskRunner(beam.runners.PipelineRunner):
        """As Beam's own is named, which needs dask."""

    pipeline = beam.Pipeline(runner=DaskRunner(), options=PipelineOptions([]))
    notes = pipeline | beam.Create([Note("a", "Fever.")])
    with pytest.raises(UsageError, match="kiwi-fhir run"):
        _ = notes | ExtractMentions(CONFIG)


def test_the_public_names():
    import kiwi_fhir.beam as public

    assert public.__all__ == sorted(public.__all__)
    assert all(getattr(public, name).__name__ == name for name in public.__all__)
    with pytest.raises(AttributeError, match="nothing"):
        _ = public.nothing


def test_the_job_of_a_run_moves_shards_and_has_one_output_a_step(tmp_path):
    """DaskRunner drops tagged outputs and what finish_bundle puts out, so a run's own job has neither."""
    from kiwi_fhir.beam.job import build
    from kiwi_fhir.run.progress import Progress

    ready = prepare("document-reference", [DEMO], CONFIG, files=files_for([]), store=store_for(str(tmp_path)))
    pipeline = beam.Pipeline(options=options_of(()))
    steps = []

    class Look(beam.pipeline.PipelineVisitor):
        def visit_transform(self, node):
            steps.append(node)

    with Progress() as progress:
        build(pipeline, ready, progress, spread=False)
    pipeline.visit(Look())
    own = [step for step in steps if step.full_label.partition("/")[0].endswith("Shards")]
    assert [step.full_label for step in own] == [
        "ReadShards/Read",
        "ExtractShards/Extract",
        "MapShards/Map",
        "WriteShards/Write",
    ]
    for step in steps:
        assert len(step.outputs) <= 1, step.full_label
        assert not any(step.outputs), step.full_label  # their tags
    for step in own:
        assert type(step.transform.fn).finish_bundle is beam.DoFn.finish_bundle
    returned = [get_type_hints(type(step.transform.fn).process)["return"] for step in own]
    assert returned == [Iterator[Shard[Note]], Iterator[Shard[Document]], Iterator[Shard[Result]], Iterator[Entry]]
