"""What the tests of resources share: documents by words, and the way from a document to its bundle."""

import json
import sys
from decimal import Decimal
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "normalize"))

from kiwi_fhir.fhir import BundleWriter, ModelInfo, check_bundle, to_json
from kiwi_fhir.normalize import Normalizer

MODEL = ModelInfo("kiwi-test", "1.2", "0.1.0", "ab" * 32)
RECORDED = "2026-01-31T00:00:00Z"


@pytest.fixture(scope="session")
def normalizer():
    return Normalizer()


@pytest.fixture(scope="session")
def writer():
    return BundleWriter(MODEL, recorded=RECORDED)


@pytest.fixture(scope="session")
def bundle_of(normalizer, writer):
    """`bundle_of(document, writer=...)` is the checked bundle as a receiver reads it, decimals as Decimal."""

    def build(document, writer=writer):
        bundle, failures = writer.bundle(document, normalizer.facts(document))
        assert failures == []
        assert [finding for finding in check_bundle(bundle) if not finding.is_warning] == []
        return json.loads(to_json(bundle), parse_float=Decimal)

    return build


@pytest.fixture(scope="session")
def resources_of(bundle_of):
    """The resources of a document's bundle without the Provenance."""

    def build(document, **how):
        entries = bundle_of(document, **how).get("entry", [])
        return [entry["resource"] for entry in entries if entry["resource"]["resourceType"] != "Provenance"]

    return build


@pytest.fixture
def writer_with(tmp_path):
    """`writer_with(old, new)` is a writer with that change of fhir.toml."""
    from kiwi_fhir.tables import Mappings

    def make(old, new):
        table = Mappings.read().path("fhir").read_text(encoding="utf-8")
        assert old in table
        (tmp_path / "fhir.toml").write_text(table.replace(old, new), encoding="utf-8")
        return BundleWriter(MODEL, recorded=RECORDED, mappings=Mappings.read(tmp_path))

    return make
