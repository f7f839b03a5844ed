"""Avatars of a single photo."""
