"""Diffusion controlled by learnable Gaussians."""
