"""Rotations, cameras and meshes."""
