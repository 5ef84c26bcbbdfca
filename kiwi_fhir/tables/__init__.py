"""Mapping files: read with their overrides, checked, fingerprinted.

A table is a TOML file of `mappings/`. What a site may put in its place or change in it stands in overrides.py.
"""

from kiwi_fhir.tables.mappings import Mappings
from kiwi_fhir.tables.schema import ListOf, MapOf, OneOf, Schema

__all__ = ["ListOf", "MapOf", "Mappings", "OneOf", "Schema"]
