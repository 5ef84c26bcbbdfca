"""FHIR R4 as it is checked: structure, required codes, invariants, units, code systems."""
