"""Foreground mattes of photos and films."""
