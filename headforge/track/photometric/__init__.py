"""Photometric refinement of tracks."""
