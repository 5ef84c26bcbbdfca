"""Rows to OMOP databases."""
