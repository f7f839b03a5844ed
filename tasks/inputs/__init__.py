"""Inputs that params.yaml names: portraits, videos, assets, subjects."""
