"""Settings of the stage `fit`."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

from headforge.errors import ConfigError


@dataclass(frozen=True)
class FitConfig:
    """Settings of the stage `fit`: avatars of dataset subjects and of portraits."""

    seed: int = 0
    """Seed of the order of the views and of which hair candidates are kept."""
    n_iterations: int = 500
    """Adam steps for a dataset subject, one view each."""
    image_size: int = 128
    """Pixels; larger dataset images are averaged down to it."""
    heldout_every: int = 4
    """One view in this many is held out for scoring."""
    n_skin: int = 5000
    """Gaussians on the head model's surface."""
    n_hair: int = 4000
    """Gaussians at most in the space between the surface and the visual hull of the masks; 0 for none."""
    hair_shell_m: float = 0.12
    """How far from scalp and neck hair is looked for, metres."""
    sh_degree: int = 1
    """Degree of the view-dependent colour, 0 to 3."""
    also_exact: bool = True
    """Beside an avatar from tracked poses fit one from the dataset's exact poses, for its predictions only."""
    lr_means: float = 0.03
    """Learning rate of the positions, triangle sizes."""
    lr_scales: float = 0.02
    """Learning rate of the logarithms of the sizes."""
    lr_quats: float = 0.01
    """Learning rate of the rotations."""
    lr_opacities: float = 0.05
    """Learning rate of the opacity logits."""
    lr_colors: float = 0.02
    """Learning rate of the constant colour coefficient; the view-dependent ones have a twentieth of it."""
    lr_final: float = 0.1
    """Learning rates fall exponentially to this share of their start."""
    weight_ssim: float = 0.2
    """Weight of 1 - SSIM; mean absolute error has the rest."""
    weight_position: float = 0.01
    """Weight of leaving one triangle size of the triangle's centre, skin only."""
    weight_scale: float = 1.0
    """Weight of growing beyond the allowed size."""
    weight_hair: float = 0.005
    """Weight of hair that is far from the head and that no picture needs."""
    portrait_n_skin: int = 40000
    """Gaussians on the surface of a portrait's head."""
    portrait_n_hair: int = 14000
    """Gaussians at most for a portrait's hair."""
    portrait_n_iterations: int = 240
    """Adam steps for a portrait."""
    portrait_size: int = 384
    """Pixels at which the photo is fitted."""
    portrait_views_weight: float = 0.25
    """Weight of the generated views against the photo's 1."""
    turntable_size: int = 256
    """Pixels of the turntable video."""
    turntable_yaw_max_deg: float = 60.0
    """The turntable swings this far to both sides."""

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, (int, float)) and not (math.isfinite(value) and value >= 0):
                self._refuse(field.name, "0 or a positive number")
        for name in ("image_size", "n_skin", "portrait_n_skin", "portrait_size", "turntable_size", "lr_final"):
            if not getattr(self, name) > 0:
                self._refuse(name, "a positive number")
        if self.heldout_every < 2:
            self._refuse("heldout_every", "a whole number of at least 2")
        if self.sh_degree > 3:
            self._refuse("sh_degree", "0, 1, 2 or 3")
        if self.weight_ssim > 1 or self.lr_final > 1:
            self._refuse("weight_ssim" if self.weight_ssim > 1 else "lr_final", "a number of at most 1")

    def _refuse(self, name: str, expected: str) -> None:
        found = getattr(self, name)
        raise ConfigError(f"fit.{name}", found, f"fit.{name} is {found}, expected {expected}.", f"give {expected}.")
