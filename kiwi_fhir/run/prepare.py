"""A run before its first note: everything that can be checked is, and what the output holds already is found."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from kiwi_fhir import __version__
from kiwi_fhir.config import Config
from kiwi_fhir.errors import UsageError
from kiwi_fhir.notes import Files, Holding, Source, factory_for, server_source
from kiwi_fhir.run.mapper import DocumentMapper
from kiwi_fhir.run.shards import Input, plan_inputs
from kiwi_fhir.tables import Mappings
from kiwi_fhir.write.shards import MANIFEST, entries, remove_entry, remove_leftovers
from kiwi_fhir.write.sinks import remote_sinks
from kiwi_fhir.write.store import Store

#: What a server holds for a run that has not come to its end.
HELD = f"{MANIFEST}/held"


@dataclass(frozen=True, slots=True)
class Run:
    """A run that was checked and can start: sources are there, the model is whole, the output folder is free."""

    source: Source
    inputs: tuple[Input, ...]
    store: Store
    config: Config
    mappings: Mappings
    versions: dict[str, str]

    @property
    def fingerprint(self) -> str:
        """What decides the results beside the notes: program, model, mapping, config."""
        return self.config.fingerprint(**self.versions)


def prepare(
    kind: str,
    inputs: Sequence[str],
    config: Config,
    *,
    files: Files,
    store: Store,
    resume: bool = False,
    replace: bool = False,
) -> Run:
    """Check everything that can be checked before the first note is read.

    Inputs are read through `files`, output goes to `store`: the local disk's, or an engine's own. `resume` goes on
    with the run that the output holds, `replace` removes it. Raises UsageError (and its kinds) for a call that can't
    work.
    """
    remote = remote_sinks(config.sinks, config)
    done = list(entries(store))
    if done and not (resume or replace):
        raise UsageError(f"{store.root} holds a run already: add --resume to go on with it, or name another folder.")
    mappings = Mappings.read(config.mappings)
    held = (store.read(HELD) or b"").decode() if resume else ""
    source, paths = open_source(kind, inputs, config, mappings, files, held or None)
    try:
        versions = _versions(kind, config, mappings)
        for sink in remote:
            sink.check()
            sink.close()
        if isinstance(source, Holding) and source.held is not None:
            store.write(HELD, [source.held.encode()])
    except BaseException:
        _let_go(source, held or None)
        raise
    if replace:
        for entry in done:
            remove_entry(store, entry)
    remove_leftovers(store)
    planned = plan_inputs(paths, one_note_each=kind == "text", shard_notes=config.shard_notes)
    return Run(source, tuple(planned), store, config, mappings, versions)


def _versions(kind: str, config: Config, mappings: Mappings) -> dict[str, str]:
    mapper = DocumentMapper(config, mappings)
    return {
        "program": __version__,
        "model": mapper.model,
        "mappings": mappings.fingerprint,
        "terminology": mapper.terminology,
        "source": kind,
        **({"ids": mapper.ids} if mapper.ids else {}),
    }


def open_source(
    kind: str, inputs: Sequence[str], config: Config, mappings: Mappings, files: Files, held: str | None = None
) -> tuple[Source, list[str]]:
    """The source of this kind and its files, looked at. Raises UsageError for what is not there or not of the kind.

    `held` is what a server still holds for an earlier run; who is done with the source calls `release`.
    """
    source = server_source(kind, config) or factory_for(kind, inputs)(files, mappings)
    if isinstance(source, Holding):
        source.held = held
    try:
        return source, source.files(inputs)
    except BaseException:
        _let_go(source, held)
        raise


def _let_go(source: Source, held: str | None) -> None:
    """Release what a source has just had made; what an earlier run left is for the next one."""
    if isinstance(source, Holding) and source.held != held:
        source.release()
