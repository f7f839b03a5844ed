"""Property tests that draw the same examples every time and never fail for being slow."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("headforge", deadline=None, derandomize=True, max_examples=60, database=None)
settings.load_profile("headforge")
