"""The program as a Python object: texts or notes in; mentions, facts and bundles out. Needs no Beam."""

from __future__ import annotations

import hashlib
import html
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from kiwi_fhir.config import Config
from kiwi_fhir.extract.choice import ModelChoice
from kiwi_fhir.extract.engine import Extractor, chunks, extract
from kiwi_fhir.run.mapper import DocumentMapper
from kiwi_fhir.run.shards import map_document
from kiwi_fhir.tables import Mappings
from kiwi_fhir.types import Document, Fact, Failure, Mention, Note
from kiwi_fhir.write.page import page

_FRAME_HEIGHT = 480  # pixels of a result in a notebook


@dataclass(frozen=True, slots=True)
class NoteResult:
    """What became of one note.

    `document` holds what the model found, None for a note that it could not read; `facts` is what the rules made of it,
    one fact a mention, in text order; `bundle` is the FHIR R4 transaction Bundle as a dict, empty for a note that
    failed. `failures` says what went wrong: one that is not `kept` cost the whole note.
    """

    note: Note
    document: Document | None
    facts: tuple[Fact, ...]
    bundle: dict[str, Any]
    failures: tuple[Failure, ...]

    @property
    def mentions(self) -> tuple[Mention, ...]:
        """The problems, tests, drugs and treatments that the model found, in text order."""
        return self.document.mentions if self.document is not None else ()

    def _repr_html_(self) -> str:
        """The note with what was found in it, as on the page of `--sink html`, in a frame that may fetch nothing."""
        if self.document is None:
            return "".join(f"<p>{html.escape(failure.message)}</p>" for failure in self.failures)
        shown = "".join(page([(self.document, self.bundle)], self.note.id))
        style = f"width:100%;height:{_FRAME_HEIGHT}px;border:0"
        return f'<iframe sandbox="allow-scripts" style="{style}" srcdoc="{html.escape(shown)}"></iframe>'


class Kiwi:
    """A model with its rules and mappings, loaded once; `load` makes one. Not for use by several threads at a time."""

    def __init__(self, extractor: Extractor, mapper: DocumentMapper, *, min_score: float = 0.0) -> None:
        """Join an extractor and a mapper; what has a score under `min_score` (0 to 1) is left out."""
        self._extractor, self._mapper, self._min_score = extractor, mapper, min_score

    def __call__(self, note: str | Note) -> NoteResult:
        """The result of one text or note. What goes wrong with it is in its failures; nothing is raised for it."""
        (result,) = self.many([note])
        return result

    def many(self, notes: Iterable[str | Note]) -> Iterator[NoteResult]:
        """One result a note, in the same order, lazily: notes are read and worked off in batches."""
        for batch in chunks(_note(note) for note in notes):
            for note, found in zip(batch, extract(self._extractor, batch, min_score=self._min_score), strict=True):
                yield self._result(note, found)

    def _result(self, note: Note, found: Document | Failure) -> NoteResult:
        if isinstance(found, Failure):
            return NoteResult(note, None, (), {}, (found,))
        made, lost = map_document(self._map, found)
        facts, bundle = made or ((), {})
        return NoteResult(note, found, facts, bundle, (*found.failures, *lost))

    def _map(self, document: Document) -> tuple[tuple[tuple[Fact, ...], dict[str, Any]], list[Failure]]:
        facts = self._mapper.facts(document)
        result, lost = self._mapper.result(document, facts)
        return (tuple(facts), orjson.loads(result.bundle)), lost


def load(
    model: str = "default",
    *,
    mappings: str | Path | None = None,
    terminology: str = "default",
    device: str | None = None,
    threads: int | None = None,
    min_score: float = 0.0,
    recorded: str | None = None,
) -> Kiwi:
    """The program, ready to be called. Loading takes seconds, a note after that a fraction of one.

    `model` is one that ships (`default`, `smollm2-tagger`, `smollm2`), a folder, or the URL of a server with a LLaMA;
    `mappings` a profile (`us-core`), a file of overrides or a folder; `terminology` `default`, `none`, or a path of
    Athena's files or of a CSV; `device` `cpu`, `cuda`, `mps` or `openvino` (default: the best of the first three);
    `threads` bounds the processor threads; `recorded` is the instant of Provenances (default: the model's release).
    They mean what the options of `kiwi-fhir run` mean. Raises UsageError (and its kinds) for what can't be used.
    """
    config = Config().with_options(
        model=model,
        mappings=str(mappings) if mappings is not None else None,
        terminology=terminology,
        device=device,
        threads=threads,
        min_score=min_score,
        recorded=recorded,
    )
    tables = Mappings.read(config.mapping.mappings)
    mapper = DocumentMapper(config, tables)  # first: what is wrong with a table is said before weights are read
    extractor = ModelChoice.of(config.model).load(threads=threads, device=device, mappings=tables)
    return Kiwi(extractor, mapper, min_score=min_score)


def _note(note: str | Note) -> Note:
    """A text as a note; its id is of the text, so that the ids of its resources are the same each time."""
    if isinstance(note, Note):
        return note
    return Note(f"text-{hashlib.sha256(note.encode('utf-8', 'surrogatepass')).hexdigest()[:16]}", note)
