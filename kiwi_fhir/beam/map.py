"""A document to its bundle: normalize and fhir, joined."""

from __future__ import annotations

from collections import Counter

from kiwi_fhir import __version__
from kiwi_fhir.config import Config
from kiwi_fhir.extract import model_folder
from kiwi_fhir.extract.folder import model_name, read_config
from kiwi_fhir.fhir import BundleWriter, ModelInfo, to_json
from kiwi_fhir.normalize import Normalizer
from kiwi_fhir.types import Document, Failure
from kiwi_fhir.write.shards import Result


class DocumentMapper:
    """Calls with a document, answers with its bundle and with the resources that did not pass the check.

    Everything it reads (tables, the model's config) is read and checked here, before the first note. Raises
    MappingError and ModelError.
    """

    def __init__(self, config: Config) -> None:
        folder = model_folder(config.model)
        settings = read_config(folder)
        self.model = model_name(folder, settings)
        name, version, digest = self.model.rsplit("-", 2)
        self._normalizer = Normalizer(config.tables)
        self._writer = BundleWriter(
            ModelInfo(name, f"{version}-{digest}", __version__),
            recorded=config.recorded or str(settings["released"]),
            tables_directory=config.tables,
        )

    def __call__(self, document: Document) -> tuple[Result, list[Failure]]:
        """The document with its bundle as JSON and the counts of what became of its facts."""
        facts = self._normalizer.facts(document)
        bundle, failures = self._writer.bundle(document, facts)
        resources = Counter(str(entry["resource"]["resourceType"]) for entry in bundle.get("entry", ()))
        ignored = Counter(reason for fact in facts if (reason := self._writer.ignored(fact)) is not None)
        return Result(document, to_json(bundle), resources, ignored), failures
