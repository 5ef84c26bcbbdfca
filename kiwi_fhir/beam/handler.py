"""The model for Beam's RunInference: notes in, documents out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from apache_beam.ml.inference.base import ModelHandler, PredictionResult

from kiwi_fhir.config import Config
from kiwi_fhir.errors import UsageError
from kiwi_fhir.extract.choice import load_for
from kiwi_fhir.extract.engine import CHUNK_NOTES, Extractor, chunks, extract
from kiwi_fhir.tables import Mappings
from kiwi_fhir.types import Document, Failure, Note


class Model:
    """What RunInference loads: an extractor behind methods alone, as Beam's proxy to another process has no others."""

    def __init__(self, extractor: Extractor, min_score: float) -> None:
        self._extractor, self._min_score = extractor, min_score

    def name(self) -> str:
        """The model's name and version."""
        return str(self._extractor.model)

    def read(self, notes: Sequence[Note]) -> list[Document | Failure]:
        """A document, or why there is none, for each note."""
        return [
            found for chunk in chunks(notes) for found in extract(self._extractor, chunk, min_score=self._min_score)
        ]


class KiwiModelHandler(ModelHandler[Note, PredictionResult, Model]):
    """`notes | RunInference(KiwiModelHandler())` makes PredictionResults of a Note (`example`) and its Document.

    A note that the model can't read has its Failure as `inference` and costs no other note of its batch anything. The
    batches are Beam's: `min_batch_size`, `max_batch_size` (notes) and `max_batch_duration_secs` (across bundles of a
    stream). A process loads one model for all its threads; with `large_model` the processes of a machine share one,
    with `model_copies` that many. RunInference's metrics are in the namespace `kiwi_fhir`.
    """

    def __init__(
        self,
        config: Config | None = None,
        *,
        min_batch_size: int | None = None,
        max_batch_size: int | None = CHUNK_NOTES,
        max_batch_duration_secs: int | None = None,
        large_model: bool = False,
        model_copies: int | None = None,
    ) -> None:
        super().__init__(
            min_batch_size=min_batch_size,
            max_batch_size=max_batch_size,
            max_batch_duration_secs=max_batch_duration_secs,
            large_model=large_model,
            model_copies=model_copies,
        )
        self._config = config or Config()
        self._mappings = Mappings.read(self._config.mapping.mappings)

    def load_model(self) -> Model:
        """The model that the config names. Raises ModelError."""
        return Model(load_for(self._config.model, self._mappings), self._config.model.min_score)

    def run_inference(
        self, batch: Sequence[Note], model: Model, inference_args: dict[str, Any] | None = None
    ) -> list[PredictionResult]:
        """A PredictionResult for each note, in order."""
        name = model.name()
        return [PredictionResult(note, found, name) for note, found in zip(batch, model.read(batch), strict=True)]

    def get_num_bytes(self, batch: Sequence[Note]) -> int:
        """The bytes of the notes' texts: for the metrics."""
        return sum(len(note.text.encode("utf-8", "surrogatepass")) for note in batch)

    def get_metrics_namespace(self) -> str:
        """The program's own."""
        return "kiwi_fhir"

    def validate_inference_args(self, inference_args: dict[str, Any] | None) -> None:
        """Raises UsageError: there are none."""
        if inference_args:
            raise UsageError("The model takes no inference_args: settings are in the Config of KiwiModelHandler.")
