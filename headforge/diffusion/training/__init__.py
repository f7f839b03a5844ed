"""Batches, optimisers, checkpoints and sample sheets of a training run."""
