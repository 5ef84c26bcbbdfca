"""Notes to FHIR bundles in a Beam pipeline of your own, on the demo's notes.

    python examples/beam_batch.py [BEAM OPTIONS]

`bundle` is a line of JSON, ready for beam.io.WriteToText. What could not be read or mapped is in the failures.
"""

import sys

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions

from kiwi_fhir import demo
from kiwi_fhir.beam import ExtractMentions, MapToFhir

options = PipelineOptions(sys.argv[1:] or ["--runner=FnApiRunner"])
with beam.Pipeline(options=options) as pipeline:
    found = pipeline | beam.Create(demo.notes()) | ExtractMentions() | MapToFhir()
    sizes = found.results | beam.Map(lambda result: f"{result.document.note.id}: {len(result.bundle)} bytes")
    failures = found.failures | beam.Map(lambda failure: f"{failure.note_id}: {failure.error}, {failure.message}")
    _ = (sizes, failures) | beam.Flatten() | beam.Map(print)
