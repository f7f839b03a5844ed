"""Tracking the views of a dataset subject."""
