"""The stages by name, in order, and their output folders."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Stage:
    """One stage of dvc.yaml."""

    name: str
    output: Path
    """Output folder, relative to the project."""
    purpose: str
    """One line for the help."""


STAGES: tuple[Stage, ...] = (
    Stage("synthesize", Path("data/synthetic"), "render the synthetic dataset"),
    Stage("track", Path("data/tracked"), "fit head model and cameras to the dataset, portraits and videos"),
    Stage("train", Path("data/models"), "train the models that train.models lists"),
    Stage("fit", Path("data/avatars"), "fit avatars of held-out subjects and of the portraits, by each of fit.methods"),
    Stage("evaluate", Path("data/metrics"), "compute metrics of pictures and avatars on held-out data"),
    Stage("report", Path("data/reports"), "write the report, one self-contained page"),
)
STAGE_NAMES = tuple(stage.name for stage in STAGES)


DVC_CACHE = Path(".dvc/cache/files/md5")
"""Objects of DVC's cache, relative to the project."""


def stage_named(name: str) -> Stage:
    """Return the stage with this name."""
    return next(stage for stage in STAGES if stage.name == name)
