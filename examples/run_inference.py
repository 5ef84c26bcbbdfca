"""The model behind Beam's own RunInference, with its batching, sharing and metrics.

    python examples/run_inference.py [BEAM OPTIONS]

A prediction's `inference` is the note's Document, or the Failure that says why there is none.
"""

import sys

import apache_beam as beam
from apache_beam.ml.inference.base import PredictionResult, RunInference
from apache_beam.options.pipeline_options import PipelineOptions

from kiwi_fhir import demo
from kiwi_fhir.beam import KiwiModelHandler
from kiwi_fhir.types import Failure


def line(prediction: PredictionResult) -> str:
    """What was found in a note, by label."""
    found = prediction.inference
    if isinstance(found, Failure):
        return f"{found.note_id}: {found.error}"
    labels = [mention.label for mention in found.mentions]
    return f"{found.note.id}: " + ", ".join(f"{labels.count(label)} {label}" for label in sorted(set(labels)))


options = PipelineOptions(sys.argv[1:] or ["--runner=FnApiRunner"])
with beam.Pipeline(options=options) as pipeline:
    predictions = pipeline | beam.Create(demo.notes()) | RunInference(KiwiModelHandler(max_batch_size=8))
    _ = predictions | beam.Map(line) | beam.Map(print)
