"""MedCAT behind the linker's protocol: its concept database and its context model choose the concept of our mentions.

MedCAT finds no mentions here: a component of ours, put into its pipeline by its own registry, hands it our spans in
place of its dictionary's. A name of several concepts is settled by the context vectors that the pack was trained with;
a database built from a CSV has none, so such a name stays uncoded. Written for MedCAT 2.9, whose parts it names.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

# Before the import, which would ask a package registry for newer versions: notes are worked on where nothing may.
os.environ.setdefault("MEDCAT_DISABLE_VERSION_CHECK", "true")

import pandas
from medcat.cat import CAT
from medcat.cdb import CDB
from medcat.components.types import AbstractEntityProvidingComponent, CoreComponentType, register_core_component
from medcat.config import Config
from medcat.model_creation.cdb_maker import CDBMaker
from medcat.vocab import Vocab

from kiwi_fhir.errors import InputError
from kiwi_fhir.normalize.terminology.sources import csv_names
from kiwi_fhir.types import Coding, Document, Mention, MentionLabel, Span

_COMPONENT = "kiwi-spans"
_LEVEL = logging.ERROR
#: Parts a name in MedCAT's CSV; never in a name of ours.
_SEPARATOR = "\x1f"
_SETTINGS = {
    "general": {"show_nested_entities": True, "log_level": _LEVEL, "usage_monitor": {"enabled": False}},
    "components": {"ner": {"comp_name": _COMPONENT}, "linking": {"train": False}},
    "preprocessing": {"max_document_length": 1 << 30},
}


class _Spans(AbstractEntityProvidingComponent):
    """MedCAT's NER step: the spans that it was told, where their words are a name of the database."""

    name = _COMPONENT

    def __init__(self, tokenizer: Any, cdb: CDB) -> None:
        super().__init__()
        self._tokenizer, self._cdb = tokenizer, cdb
        self.spans: Sequence[Span] = ()
        #: What a candidate's id begins with, by span; none for a pack, whose concepts have no labels of ours.
        self.prefixes: Sequence[str] = ()

    def get_type(self) -> CoreComponentType:
        """See MedCAT."""
        return CoreComponentType.ner

    def predict_entities(self, doc: Any, ents: list[Any] | None = None) -> list[Any]:
        """One entity for each span with a known name; its `id` is the span's index."""
        entities = []
        for index, (span, prefix) in enumerate(zip(self.spans, self.prefixes, strict=True)):
            tokens = doc.get_tokens(span.start, span.end - 1)
            name = next((name for name in self._names(tokens) if name in self._cdb.name2info), None)
            if name is None:
                continue
            candidates = [cui for cui in self._cdb.name2info[name]["per_cui_status"] if cui.startswith(prefix)]
            if candidates:
                entity = self._tokenizer.create_entity(doc, tokens[0].base.index, tokens[-1].base.index + 1, _COMPONENT)
                entity.detected_name, entity.link_candidates, entity.id = name, candidates, index
                entities.append(entity)
        return entities

    def _names(self, tokens: Sequence[Any]) -> Iterator[str]:
        """The ways in which the database may hold the tokens: normalised, and as written in lower case."""
        separator = self._cdb.config.general.separator
        words = [token for token in tokens if not token.to_skip]
        if words:
            yield separator.join(token.norm for token in words)
            yield separator.join(token.base.lower for token in words)

    @classmethod
    def create_new_component(cls, cnf: Any, tokenizer: Any, cdb: CDB, vocab: Vocab, model_load_path: Any) -> _Spans:
        """See MedCAT."""
        return cls(tokenizer, cdb)


register_core_component(CoreComponentType.ner, _COMPONENT, _Spans.create_new_component)


@dataclass(frozen=True, slots=True)
class _Model:
    """A loaded MedCAT model. `codings` are of the ids of our own database; a pack's ids are codes of `system`."""

    cat: CAT
    spans: _Spans
    codings: Mapping[str, Coding] | None
    system: str = ""

    @classmethod
    def of(cls, cat: CAT, codings: Mapping[str, Coding] | None, system: str = "") -> _Model:
        """`cat` was made with our settings."""
        component = cat.pipe.get_component(CoreComponentType.ner)
        assert isinstance(component, _Spans)  # noqa: S101 (the settings name it)
        return cls(cat, component, codings, system)

    def coding(self, cui: str, score: float) -> Coding:
        """The coding of a concept."""
        score = round(min(score, 1.0), 4)
        if self.codings is not None:
            return replace(self.codings[cui], method="medcat", score=score)
        return Coding(self.system, cui, self.cat.cdb.get_name(cui), "medcat", score)


class MedCatLinker:
    """Links mentions by a MedCAT model, which is made when the first document comes."""

    def __init__(self, make: Callable[[], _Model]) -> None:
        self._make = make
        self._model: _Model | None = None

    def __reduce__(self) -> tuple[object, ...]:
        return MedCatLinker, (self._make,)

    @classmethod
    def from_csv(cls, path: Path, systems: Mapping[str, str]) -> MedCatLinker:
        """A linker on a database of the names of a CSV. Raises InputError for a file that can't be read."""
        for _ in csv_names(path, systems):
            pass
        return cls(partial(_from_csv, path, dict(systems)))

    @classmethod
    def from_pack(cls, path: Path, systems: Mapping[str, str]) -> MedCatLinker:
        """A linker on a model pack (a folder or a zip), which MedCAT unpickles: call only for one that is trusted.

        `systems` gives the URI of a vocabulary by its name. The first document raises InputError for a pack that can't
        be loaded, or that does not say which one known vocabulary its codes are of.
        """
        return cls(partial(_from_pack, path, dict(systems)))

    def whole(self, text: str, mention: Mention) -> Span:
        """See `Linker`: only our tables know longer names."""
        return mention.span

    def of_test(self, coding: Coding) -> tuple[Coding, ...]:
        """See `Linker`: MedCAT links in place of our tables."""
        return ()

    def codings(self, document: Document) -> list[tuple[Coding, ...]]:
        """See `Linker`; the score is MedCAT's similarity of the context, 1 where a name has one meaning."""
        mentions = document.mentions
        found: list[tuple[Coding, ...]] = [()] * len(mentions)
        if not mentions:
            return found
        model = self._model = self._model or self._make()
        model.spans.spans = [mention.span for mention in mentions]
        model.spans.prefixes = [_prefix(mention.label) if model.codings is not None else "" for mention in mentions]
        linked = model.cat(document.note.text)
        for entity in linked.linked_ents if linked is not None else ():
            found[entity.id] = (model.coding(entity.cui, float(entity.context_similarity)),)
        return found


def _prefix(label: MentionLabel) -> str:
    return f"{label.upper()}:"  # MedCAT turns ids into capitals


def _from_csv(path: Path, systems: Mapping[str, str]) -> _Model:
    ids: dict[tuple[MentionLabel, str | None, str | None], str] = {}
    codings: dict[str, Coding] = {}
    rows = []
    for name, label, coding in csv_names(path, systems):
        number = ids.setdefault((label, coding.system, coding.code), f"{_prefix(label)}{len(ids)}")
        codings.setdefault(number, coding)
        rows.append((number, name))
    config = Config()
    config.general.log_level = _LEVEL
    config.cdb_maker.multi_separator = _SEPARATOR
    cdb = CDBMaker(config).prepare_csvs([pandas.DataFrame(rows, columns=["cui", "name"])])
    config.merge_config(_SETTINGS)
    config.components.linking.disamb_length_limit = 0  # a short name of one meaning is none to doubt in a mention
    return _Model.of(CAT(cdb, Vocab(), config), codings)


def _from_pack(path: Path, systems: Mapping[str, str]) -> _Model:
    try:
        cat = CAT.load_model_pack(str(path), config_dict=_SETTINGS)
    except Exception as error:  # whatever is in the pack raises
        raise InputError(
            f"The MedCAT model pack '{path}' can't be loaded ({type(error).__name__}): give a whole one of version 2."
        ) from error
    known = {systems[name] for name in cat.config.meta.ontology if name in systems}
    if len(known) != 1:
        raise InputError(
            f"The MedCAT model pack '{path}' does not say which vocabulary its codes are of: set its "
            f"`config.meta.ontology` to one of {', '.join(sorted(systems))}."
        )
    return _Model.of(cat, None, known.pop())
