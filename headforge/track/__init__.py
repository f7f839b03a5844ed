"""Head parameters and cameras from landmarks."""
