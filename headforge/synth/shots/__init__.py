"""Cameras, poses and moments of a dataset's views."""
