"""A dozen synthetic notes, as FHIR DocumentReferences and as a MIMIC-III table; built by tests/demo_notes/build.py."""
