"""Mesh and Gaussian rendering."""
