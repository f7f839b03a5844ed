"""Running a stage or the whole chain."""
