"""Bundles to FHIR servers."""
