"""Tracking a single photo."""
