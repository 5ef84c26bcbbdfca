"""Text to mentions: `load` makes an extractor of a model, `predict` turns notes into documents."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol
from urllib.parse import parse_qs

from kiwi_fhir.config import Config
from kiwi_fhir.errors import ModelError, NoteError
from kiwi_fhir.extract.folder import model_name, read_config
from kiwi_fhir.extract.generative.prompts import Templates, load_templates
from kiwi_fhir.documents.min_score import at_least
from kiwi_fhir.types import Document, Failure, Note

if TYPE_CHECKING:
    from kiwi_fhir.extract.generative.server import LlamaServer

#: The names of the models that ship in the package: a joint BERT, and adapters that make a LLaMA of 135 M weights a
#: writer, or a tagger that reads both ways.
DEFAULT_MODEL = "default"
SMALL_LLAMA = "smollm2"
SMALL_TAGGER = "smollm2-tagger"
_PACKAGED = {DEFAULT_MODEL: "default", SMALL_LLAMA: "smollm2", SMALL_TAGGER: "smollm2_tagger"}
#: Notes that are windowed, sorted and run together: enough for full batches, little enough for flat memory.
CHUNK_NOTES = 128
CHUNK_CHARACTERS = 400_000


class Extractor(Protocol):
    """Anything that finds mentions; `model` names it with its version in results."""

    model: str

    def predict(self, notes: Sequence[Note]) -> list[Document]:
        """One document for each note, in the same order.

        How notes are grouped changes no span, but for sums that are rounded otherwise in batches of other shapes.
        """
        ...

    def count_windows(self, note: Note) -> int:
        """How many windows the model would read for `note`."""
        ...


@dataclass(frozen=True, slots=True)
class ModelChoice:
    """A model as a user names it: one that ships, a folder, or the URL of a server.

    A URL is that of an OpenAI-compatible server (`http://127.0.0.1:8000/v1`), with `?model=NAME` where it has several
    models, and `parallel=N` requests at a time (16). `templates` is a folder of prompts for a LLaMA (default: those in
    its folder, else the program's), `four_bit` keeps it in four bits, and with `unconstrained` it may write other
    things than the text and tags.
    """

    model: str = DEFAULT_MODEL
    templates: str | None = None
    four_bit: bool = False
    unconstrained: bool = False

    @classmethod
    def of(cls, config: Config) -> ModelChoice:
        """The model that a config names."""
        return cls(config.model, config.templates, config.four_bit, config.unconstrained)

    @property
    def is_server(self) -> bool:
        """Whether the model runs on a server."""
        return self.model.startswith(("http://", "https://"))

    @property
    def folder(self) -> Path:
        """The model's folder: a packaged one, else the path itself."""
        return Path(__file__).parent / _PACKAGED[self.model] if self.model in _PACKAGED else Path(self.model)

    def prompts(self) -> Templates:
        """The templates of a LLaMA. Raises ModelError."""
        if self.templates:
            return load_templates(Path(self.templates))
        own = None if self.is_server else self.folder / "templates"
        return load_templates(own if own and own.is_dir() else None)

    def identify(self) -> tuple[str, str | None]:
        """`NAME-VERSION-HASH` of the model and its release (ISO 8601; None: it states none). Loads no weights.

        Raises ModelError for a folder that is not whole, and what LlamaServer.check raises for a server without
        `?model=`.
        """
        mode = "unconstrained" if self.unconstrained else ""
        if self.is_server:
            if self.four_bit:
                raise ModelError("--four-bit is for a LLaMA on this machine: a server has its weights as it has them.")
            server = self._server(self.prompts())
            if not server.model:
                server.check()
            name = re.sub(r"[^A-Za-z0-9._]+", "-", server.model).strip("-")
            digest = hashlib.sha256(f"{name} {self.prompts().digest} {mode}".encode()).hexdigest()
            return f"{name}-remote-{digest[:8]}", None
        config = read_config(self.folder)
        if config["arch"] != "llama":
            self._refuse_llama_options(config["arch"])
            return model_name(self.folder, config), config["released"]
        return model_name(self.folder, config, self.prompts().digest, mode), config["released"]

    def load(self, *, threads: int | None = None, device: str | None = None, tables: Path | None = None) -> Extractor:
        """The extractor.

        `threads` bounds the processor threads (default: all the process may use); `device` is `cpu`, `cuda`,
        `mps`, or for a tagger `openvino` (default: the best of the first three); `tables` replaces mapping files.
        Raises ModelError.
        """
        if self.is_server:
            from kiwi_fhir.extract.generative.extractor import LlamaExtractor

            templates = self.prompts()
            server = self._server(templates)
            return LlamaExtractor(server, templates, name=self.identify()[0], tables=tables)
        config = read_config(self.folder)
        if config["arch"] == "llama":
            from kiwi_fhir.extract.generative.extractor import load_local

            return load_local(
                self.folder,
                config,
                self.prompts(),
                name=self.identify()[0],
                threads=threads,
                device=device,
                tables=tables,
                four_bit=self.four_bit,
                constrained=not self.unconstrained,
            )
        self._refuse_llama_options(config["arch"])
        from kiwi_fhir.extract.tagger.extractor import BertExtractor

        return BertExtractor.load(self.folder, threads=threads, device=device, tables=tables)

    def _server(self, templates: Templates) -> LlamaServer:
        from kiwi_fhir.extract.generative.server import LlamaServer

        url, _, query = self.model.partition("?")
        asked = parse_qs(query)
        parallel = asked.get("parallel", ["16"])[0]
        if set(asked) - {"model", "parallel"} or not (parallel.isdecimal() and int(parallel)):
            raise ModelError("The URL of a model's server takes ?model=NAME and &parallel=REQUESTS, nothing else.")
        return LlamaServer(
            url,
            model=asked.get("model", [None])[0],
            tags=templates.tags,
            chat=templates.chat,
            constraint="none" if self.unconstrained else "auto",
            parallel=int(parallel),
        )

    def _refuse_llama_options(self, arch: str) -> None:
        for name, given in (
            ("templates", self.templates),
            ("four-bit", self.four_bit),
            ("unconstrained", self.unconstrained),
        ):
            if given:
                kind = "is a BERT" if arch == "bert" else "only tags"
                raise ModelError(f"--{name} is for LLaMA models that write: '{self.model}' {kind}.")


def load(
    model: str = DEFAULT_MODEL, *, threads: int | None = None, device: str | None = None, tables: Path | None = None
) -> Extractor:
    """The extractor of a model as ModelChoice names it, with its usual options; see ModelChoice.load."""
    return ModelChoice(model).load(threads=threads, device=device, tables=tables)


def extract(extractor: Extractor, notes: Sequence[Note], *, min_score: float = 0.0) -> list[Document | Failure]:
    """`predict` with a way down: a group that fails is halved until only the notes that fail alone are failures.

    A device that is gone raises; anything else that one note does wrong costs that note only. What has a score under
    `min_score` is left out of the documents.
    """
    if not notes:
        return []
    try:
        return [_or_failure(at_least(document, min_score)) for document in extractor.predict(notes)]
    except (NoteError, MemoryError, RuntimeError, ValueError, IndexError, KeyError, TypeError) as error:
        if _device_is_gone(error):
            raise
        if len(notes) == 1:
            return [_failure(notes[0], error)]
        half = len(notes) // 2
        parts = notes[:half], notes[half:]
        return [found for part in parts for found in extract(extractor, part, min_score=min_score)]


def _or_failure(document: Document) -> Document | Failure:
    return next((failure for failure in document.failures if not failure.kept), document)


def chunks(notes: Sequence[Note]) -> Iterator[Sequence[Note]]:
    """Runs of consecutive notes within CHUNK_NOTES and CHUNK_CHARACTERS; a longer note is a run of its own."""
    start = size = 0
    for index, note in enumerate(notes):
        if index > start and (index - start >= CHUNK_NOTES or size + len(note.text) > CHUNK_CHARACTERS):
            yield notes[start:index]
            start, size = index, 0
        size += len(note.text)
    if start < len(notes):
        yield notes[start:]


def _device_is_gone(error: Exception) -> bool:
    """CUDA and MPS report a lost device as a RuntimeError; out of memory is no such loss."""
    text = str(error)
    return isinstance(error, RuntimeError) and "out of memory" not in text and ("CUDA error" in text or "MPS" in text)


def _failure(note: Note, error: Exception) -> Failure:
    """Only our own messages are known to hold no note text."""
    if isinstance(error, NoteError):
        return Failure(note.id, "extract", error.reason, str(error))
    out_of_memory = isinstance(error, MemoryError) or "out of memory" in str(error)
    if out_of_memory:
        return Failure(note.id, "extract", "out-of-memory", "The model ran out of memory on this note alone.")
    return Failure(note.id, "extract", "model-error", f"The model raised {type(error).__name__} on this note.")
