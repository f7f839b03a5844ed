"""Head models in FLAME's format."""
