"""A LLaMA that writes: the text again, with tags around what it found."""
