"""Words, phrases and numbers of a text."""
