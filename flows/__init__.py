"""Composition of the pipeline: stage order, stage inputs and output folders."""
