"""A run as one HTML page: the notes with what was found in them, and the resources beside the text."""

from kiwi_fhir.write.page.page import page

__all__ = ["page"]
