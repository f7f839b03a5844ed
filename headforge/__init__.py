"""Animatable human heads: datasets, tracking, controlled diffusion and Gaussian avatars on one head model."""

__version__ = "0.1.0"
