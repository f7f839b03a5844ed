"""Execution of a stage or of the whole chain."""
