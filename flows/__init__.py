"""Composition: which stage runs when, on what, and where its results go."""
