"""Tracking a film of one person."""
