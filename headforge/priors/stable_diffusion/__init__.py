"""Stable Diffusion and AnimateDiff weights, loaded into diffusers modules."""
