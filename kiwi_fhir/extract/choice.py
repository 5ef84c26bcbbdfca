"""A model as a user names it: one that ships, a folder, or the URL of a server."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import parse_qs

from kiwi_fhir.config import ModelSettings
from kiwi_fhir.errors import ModelError, UsageError
from kiwi_fhir.extract.engine import Extractor
from kiwi_fhir.extract.folder import model_id, read_config
from kiwi_fhir.extract.generative.prompts import Templates, load_templates
from kiwi_fhir.tables import Mappings
from kiwi_fhir.types import ModelId

if TYPE_CHECKING:
    from kiwi_fhir.extract.generative.server import LlamaServer

#: The names of the models that ship in the package: a joint BERT, and adapters that make a LLaMA of 135 M weights a
#: writer, or a tagger that reads both ways.
DEFAULT_MODEL = "default"
SMALL_LLAMA = "smollm2"
SMALL_TAGGER = "smollm2-tagger"
_PACKAGED = {DEFAULT_MODEL: "default", SMALL_LLAMA: "smollm2", SMALL_TAGGER: "smollm2_tagger"}


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
    def of(cls, settings: ModelSettings) -> ModelChoice:
        """The model that a config names. Raises UsageError for a `min_score` of a model that states no scores."""
        choice = cls(settings.model, settings.templates, settings.four_bit, settings.unconstrained)
        if settings.min_score and not choice.states_scores:
            why = "a LLaMA on a server" if choice.is_server else "an --unconstrained LLaMA"
            raise UsageError(f"--min-score can leave nothing out: {why} states no scores. Run it without.")
        return choice

    @property
    def states_scores(self) -> bool:
        """Whether the model says how sure it is. A server's answer is text alone, as is an unconstrained one's."""
        return not (self.is_server or self.unconstrained)

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

    def identify(self) -> tuple[ModelId, str | None]:
        """Which model it is, and its release (ISO 8601; None: it states none). Loads no weights.

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
            return ModelId(name, "remote", digest[:8]), None
        config = read_config(self.folder)
        if config["arch"] != "llama":
            self._refuse_llama_options(config["arch"])
            return model_id(self.folder, config), config["released"]
        return model_id(self.folder, config, self.prompts().digest, mode), config["released"]

    def load(
        self, *, threads: int | None = None, device: str | None = None, mappings: Mappings | None = None
    ) -> Extractor:
        """The extractor.

        `threads` bounds the processor threads (default: all the process may use); `device` is `cpu`, `cuda`,
        `mps`, or for a tagger `openvino` (default: the best of the first three); `mappings` are the packaged ones by
        default.
        Raises ModelError.
        """
        if self.is_server:
            from kiwi_fhir.extract.generative.extractor import GenerativeExtractor

            templates = self.prompts()
            server = self._server(templates)
            return GenerativeExtractor(server, templates, model_id=self.identify()[0], mappings=mappings)
        config = read_config(self.folder)
        if config["arch"] == "llama":
            from kiwi_fhir.extract.generative.extractor import load_local

            return load_local(
                self.folder,
                config,
                self.prompts(),
                model_id=self.identify()[0],
                threads=threads,
                device=device,
                mappings=mappings,
                four_bit=self.four_bit,
                constrained=not self.unconstrained,
            )
        self._refuse_llama_options(config["arch"])
        from kiwi_fhir.extract.tagger.extractor import TaggerExtractor

        return TaggerExtractor.load(self.folder, threads=threads, device=device, mappings=mappings)

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


def load_for(settings: ModelSettings, mappings: Mappings | None = None) -> Extractor:
    """The extractor that the settings name, on their device; see ModelChoice.load."""
    return ModelChoice.of(settings).load(threads=settings.threads, device=settings.device, mappings=mappings)


def load(
    model: str = DEFAULT_MODEL,
    *,
    threads: int | None = None,
    device: str | None = None,
    mappings: Mappings | None = None,
) -> Extractor:
    """The extractor of a model as ModelChoice names it, with its usual options; see ModelChoice.load."""
    return ModelChoice(model).load(threads=threads, device=device, mappings=mappings)
