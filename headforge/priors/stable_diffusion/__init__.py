"""Stable Diffusion and AnimateDiff weights, read into diffusers modules."""
