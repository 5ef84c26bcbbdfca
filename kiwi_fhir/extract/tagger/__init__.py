"""An encoder with taggers and a linker on it: one pass a window."""
