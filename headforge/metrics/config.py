"""Settings of the stage `evaluate`."""

from __future__ import annotations

from dataclasses import dataclass, field

from headforge.errors import ConfigError
from headforge.metrics.perceptual import BUILTIN
from headforge.settings import ADDED

PERCEPTUAL = ("none", *BUILTIN, "lpips-alex", "lpips-vgg")


@dataclass(frozen=True)
class EvaluateConfig:
    """Settings of the stage `evaluate`."""

    min_foreground_share: float = 0.01
    """Views whose foreground covers less of the picture have no foreground metrics."""
    perceptual: str = field(default="none", metadata=ADDED)
    """A further metric, of perceived difference over the whole picture: "none", "mini" (fixed filters, not comparable
    with LPIPS), "lpips-alex" or "lpips-vgg" (asset of that name)."""

    def __post_init__(self) -> None:
        if self.perceptual not in PERCEPTUAL:
            allowed = ", ".join(PERCEPTUAL)
            raise ConfigError("evaluate.perceptual", self.perceptual,
                              f"evaluate.perceptual is {self.perceptual!r}, it must be one of {allowed}.",
                              f"set evaluate.perceptual to one of {allowed}.")  # fmt: skip
        if not 0 < self.min_foreground_share < 1:
            raise ConfigError(
                "evaluate.min_foreground_share", self.min_foreground_share,
                f"evaluate.min_foreground_share is {self.min_foreground_share}, expected a number between 0 and 1.",
                "set evaluate.min_foreground_share to 0.01.",
            )  # fmt: skip
