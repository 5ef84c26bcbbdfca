"""Notes of a FHIR server: searches, exports, attachments."""
