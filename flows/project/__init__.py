"""Location, settings and inputs of a project."""
