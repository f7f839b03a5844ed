"""Metrics and their measurement protocols."""
