"""Facts to FHIR R4 resources and bundles, and the check of both."""

from kiwi_fhir.documents.lines import to_json
from kiwi_fhir.fhir.bundle import BundleWriter
from kiwi_fhir.fhir.provenance import ModelInfo
from kiwi_fhir.fhir.r4.validate import Finding, check_bundle, check_resource

__all__ = ["BundleWriter", "Finding", "ModelInfo", "check_bundle", "check_resource", "to_json"]
