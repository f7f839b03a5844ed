"""Strands, haircuts and beards."""
