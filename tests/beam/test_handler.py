"""RunInference with the shipped model: Beam's batching, sharing and metrics, and no note that costs another."""

import os
from pathlib import Path

import apache_beam as beam
import pytest
from apache_beam.metrics import MetricsFilter
from apache_beam.ml.inference.base import KeyedModelHandler, RunInference
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.testing.util import assert_that, equal_to

from kiwi_fhir.beam import KiwiModelHandler, MapToFhir
from kiwi_fhir.config import Config
from kiwi_fhir.errors import UsageError
from kiwi_fhir.extract import load_for
from kiwi_fhir.types import Document, Failure, Note

CONFIG = Config().with_options(device="cpu", threads=1)
NOTES = [Note(str(number), text) for number, text in enumerate(["He has fever.", "No cough.", "Aspirin 81 mg daily."])]
BROKEN = Note("broken", "\ud800")  # no tokenizer takes half a character


def said(prediction):
    """The note's id and the labels of its mentions; of a failure its class."""
    found = prediction.inference
    if isinstance(found, Failure):
        return prediction.example.id, found.error
    return prediction.example.id, tuple(mention.label for mention in found.mentions)


EXPECTED = [("0", ("problem",)), ("1", ("problem",)), ("2", ("drug",)), ("broken", "model-error")]


def run(handler, *options):
    pipeline = beam.Pipeline("FnApiRunner", options=PipelineOptions(list(options)))
    notes = pipeline | beam.Create([*NOTES, BROKEN], reshuffle=bool(options))
    assert_that(notes | RunInference(handler) | beam.Map(said), equal_to(EXPECTED))
    result = pipeline.run()
    result.wait_until_finish()
    metrics = result.metrics().query(MetricsFilter().with_namespace("kiwi_fhir"))
    return {found.key.metric.name: found.result for kind in ("counters", "distributions") for found in metrics[kind]}


def test_a_prediction_for_each_note_and_beams_metrics():
    metrics = run(KiwiModelHandler(CONFIG, max_batch_size=2))
    assert metrics["num_inferences"] == 4
    assert metrics["inference_request_batch_size"].max == 2
    assert metrics["inference_request_batch_byte_size"].sum == sum(len(note.text) for note in NOTES) + 3
    assert metrics["load_model_latency_milli_secs"].count == 1
    assert "failed_batches_counter" not in metrics


def test_processes_of_a_machine_share_one_model(monkeypatch):
    paths = [str(Path(__file__).parent), *filter(None, [os.environ.get("PYTHONPATH")])]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(paths))  # the processes import `said`
    handler = KiwiModelHandler(CONFIG, min_batch_size=1, max_batch_size=1, large_model=True)
    assert handler.share_model_across_processes()
    metrics = run(handler, "--direct_running_mode=multi_processing", "--direct_num_workers=2")
    assert metrics["num_inferences"] == 4
    assert metrics["load_model_latency_milli_secs"].count == 1


def test_predictions_go_on_to_fhir():
    model = load_for(CONFIG.model).model
    with beam.Pipeline("FnApiRunner", options=PipelineOptions([])) as pipeline:
        keyed = pipeline | beam.Create([(note.id, note) for note in NOTES])
        predictions = keyed | RunInference(KeyedModelHandler(KiwiModelHandler(CONFIG)))
        found = predictions | beam.Map(lambda pair: pair[1].inference).with_output_types(Document) | MapToFhir(CONFIG)
        assert_that(found.results | beam.Map(lambda result: result.document.note.id), equal_to(["0", "1", "2"]))
        models = predictions | "Models" >> beam.Map(lambda pair: pair[1].model_id)
        assert_that(models, equal_to([str(model)] * 3), label="models")


def test_settings_are_not_inference_args():
    with pytest.raises(UsageError, match="inference_args"):
        KiwiModelHandler(CONFIG).validate_inference_args({"min_score": 0.5})
    assert KiwiModelHandler(CONFIG, model_copies=2).model_copies() == 2
    assert KiwiModelHandler(CONFIG, max_batch_duration_secs=1).batch_elements_kwargs() == {
        "max_batch_size": 128,
        "max_batch_duration_secs": 1,
    }
