"""Settings of the stage `evaluate`."""

from __future__ import annotations

from dataclasses import dataclass

from headforge.metrics.perceptual import BUILTIN
from headforge.settings import check_settings, setting

PERCEPTUAL = ("none", *BUILTIN, "lpips-alex", "lpips-vgg")


@dataclass(frozen=True)
class EvaluateConfig:
    """Settings of the stage `evaluate`."""

    min_foreground_share: float = setting(0.01, above=0, below=1)
    """Least share of a picture that the foreground must cover for foreground metrics."""
    perceptual: str = setting("none", one_of=PERCEPTUAL, added=True)
    """Additional perceptual metric over the whole picture: "none", "mini" (fixed filters, not comparable with LPIPS),
    "lpips-alex" or "lpips-vgg" (asset of that name)."""

    def __post_init__(self) -> None:
        check_settings(self, "evaluate")
