"""Clinical notes to FHIR and OMOP."""

__version__ = "0.1.0"
