"""Progress output of a running stage."""
