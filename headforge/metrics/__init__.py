"""Measurements and the protocol behind each."""
