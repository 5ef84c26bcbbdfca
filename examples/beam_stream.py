"""A stream of notes to FHIR bundles, counted by windows of their time.

    python examples/beam_stream.py [BEAM OPTIONS]

The demo's notes come four a second, as they would from a queue. They wait a moment for each other, so that the model
reads several at once; each bundle stays in the window of its note.
"""

import sys
import time
from collections import Counter

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.transforms.periodicsequence import PeriodicImpulse
from apache_beam.transforms.window import FixedWindows

from kiwi_fhir import demo
from kiwi_fhir.beam import ExtractMentions, MapToFhir
from kiwi_fhir.types import Note


def counted(found, window=beam.DoFn.WindowParam):
    """One line for a window: how many notes, and what they hold."""
    resources = sum((Counter(dict(result.resources)) for result in found[1]), Counter())
    return f"{window.start.to_rfc3339()}: {len(found[1])} notes, {resources['Condition']} conditions"


options = PipelineOptions(sys.argv[1:] or ["--runner=FnApiRunner"], streaming=True)
with beam.Pipeline(options=options) as pipeline:
    arriving = pipeline | PeriodicImpulse(time.time(), fire_interval=0.25, data=demo.notes())
    notes = arriving | beam.Map(lambda note: note).with_output_types(Note) | beam.WindowInto(FixedWindows(1))
    found = notes | ExtractMentions(max_wait=0.5) | MapToFhir()
    one_line = found.results | beam.WithKeys("all") | beam.GroupByKey() | "Count" >> beam.Map(counted)
    _ = one_line | "Print" >> beam.Map(print)
    _ = found.failures | "Failures" >> beam.Map(lambda failure: print(failure.note_id, failure.error))
