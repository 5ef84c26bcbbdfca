"""A document to its bundle: normalize and fhir, joined."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from kiwi_fhir import __version__
from kiwi_fhir.config import Config
from kiwi_fhir.errors import NoteError, UsageError
from kiwi_fhir.extract import ModelChoice
from kiwi_fhir.fhir import BundleWriter, ModelInfo, to_json
from kiwi_fhir.normalize import Normalizer, load_linker
from kiwi_fhir.tables import Mappings
from kiwi_fhir.types import Document, Fact, Failure, ModelId, NoteRows, Result

if TYPE_CHECKING:
    from kiwi_fhir.omop.rows import RowMaker


class DocumentMapper:
    """Calls with a document, answers with its bundle and with the resources that did not pass the check.

    Everything it reads (the model's config, the mapping files of `config` where no `mappings` are given) is read and
    checked here, before the first note. Raises MappingError and ModelError, and UsageError or InputError for a
    terminology that can't be used. `terminology` is a digest of the names that mentions are linked to, `ids` one of
    the table of `omop_ids`. Rows for an OMOP database are made with `rows`, or where one is among the sinks.
    """

    def __init__(self, config: Config, mappings: Mappings | None = None, *, rows: bool = False) -> None:
        mappings = mappings or Mappings.read(config.mapping.mappings)
        choice = ModelChoice.of(config.model)
        self.model, released = choice.identify()
        linker, self.terminology = load_linker(
            config.mapping.terminology,
            fuzzy=config.mapping.fuzzy,
            medcat=config.mapping.medcat,
            trust_pack=config.mapping.trust_pack,
            mappings=mappings,
        )
        self._normalizer = Normalizer(mappings, linker)
        recorded = config.fhir.recorded or released
        if recorded is None:
            raise UsageError(
                f"The model '{self.model.name}' states no release: name the instant of Provenances with --recorded."
            )
        engine = "OpenVINO int8" if config.model.device == "openvino" and not choice.is_server else None
        info = ModelInfo(self.model, __version__, engine=engine)
        self._writer = BundleWriter(info, recorded=recorded, mappings=mappings)
        self._rows = None
        self.ids: str | None = None
        if rows or any(sink.startswith("omop=") for sink in config.run.sink):
            self._rows = _row_maker(config, self.model, recorded)
            self.ids = self._rows.ids_digest

    def __call__(self, document: Document) -> tuple[Result, list[Failure]]:
        """The document with its bundle as JSON and the counts of what became of its facts."""
        return self.result(document, self.facts(document))

    def facts(self, document: Document) -> list[Fact]:
        """What the document states, one fact a mention, in text order."""
        return self._normalizer.facts(document)

    def result(self, document: Document, facts: Sequence[Fact]) -> tuple[Result, list[Failure]]:
        """What `document` and its `facts` become."""
        written = self._writer.write(document, facts)
        resources = Counter(str(entry["resource"]["resourceType"]) for entry in written.bundle.get("entry", ()))
        ignored = Counter(reason for fact in facts if (reason := self._writer.ignored(fact)) is not None)
        if written.contradicted:
            ignored["contradicted"] = written.contradicted
        rows = None if self._rows is None else _rows(self._rows, document, facts)
        failures = written.failures
        language = self._normalizer.language(document.note.text) if not facts else None
        if language is not None:
            ignored["not-english"] = 1
            said = f"The note is not in English ({language}): nothing is stated of it."
            failures = [*failures, Failure(document.note.id, "map", "not-english", said, kept=True)]
        bundle = to_json(written.bundle)
        return Result(document, bundle, resources, ignored, written.merged, written.conflicts, rows), failures

    def rows(self, document: Document) -> tuple[NoteRows | None, list[Failure]]:
        """The document's rows for an OMOP database, and why there are none. For a mapper that was made with `rows`."""
        assert self._rows is not None  # noqa: S101
        found = _rows(self._rows, document, self._normalizer.facts(document))
        return (None, [found]) if isinstance(found, Failure) else (found, [])


def _row_maker(config: Config, model: ModelId, recorded: str) -> RowMaker:
    from kiwi_fhir.omop.ids import IdTable, NumberRule
    from kiwi_fhir.omop.rows import RowMaker

    return RowMaker(
        IdTable(Path(config.omop.omop_ids)) if config.omop.omop_ids else NumberRule(),
        model=model,
        program=__version__,
        recorded=recorded,
        notes=config.omop.omop_notes,
        clinical=config.omop.omop_clinical,
    )


def _rows(maker: RowMaker, document: Document, facts: Sequence[Fact]) -> NoteRows | Failure:
    try:
        return maker.rows(document, facts)
    except NoteError as error:
        return Failure(document.note.id, "write", error.reason, str(error))
