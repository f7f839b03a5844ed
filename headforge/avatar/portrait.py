"""Avatars of one photo."""

from __future__ import annotations

from pathlib import Path

from headforge.avatar.config import FitConfig
from headforge.flame.model import HeadModel
from headforge.progress import SILENT, Progress


def fit_portrait(
    config: FitConfig, portrait: Path, views: Path, head: HeadModel, output: Path, progress: Progress = SILENT
) -> None:
    """Draft."""
    raise NotImplementedError
