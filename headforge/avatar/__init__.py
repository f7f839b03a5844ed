"""Rigged Gaussian avatars."""
