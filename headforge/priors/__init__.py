"""Outside models, one adapter a file."""
