"""The procedural head model, in FLAME's format."""
