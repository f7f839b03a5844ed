"""External models, one adapter per file."""
