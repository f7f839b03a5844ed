"""Maintenance of a project and its store."""
