"""Settings of the stage `fit`."""

from __future__ import annotations

from dataclasses import dataclass

from headforge.settings import LARGEST_SEED, check_settings, setting


@dataclass(frozen=True)
class FitConfig:
    """Settings of the stage `fit`: avatars of dataset subjects and of portraits."""

    seed: int = setting(0, at_least=0, at_most=LARGEST_SEED)
    """Seed of the order of the views and of the choice of hair candidates."""
    n_iterations: int = setting(500, at_least=0, at_most=1_000_000)
    """Adam steps per dataset subject, one view each."""
    image_size: int = setting(128, at_least=1, at_most=4096)
    """Side of the images in pixels; larger dataset images are averaged down to it."""
    heldout_every: int = setting(4, at_least=2, at_most=1_000_000)
    """One view in this many is held out for evaluation."""
    n_skin: int = setting(5000, at_least=1, at_most=5_000_000)
    """Number of Gaussians on the head model's surface."""
    n_hair: int = setting(4000, at_least=0, at_most=5_000_000)
    """Largest number of Gaussians between the surface and the visual hull of the masks; 0 for none."""
    hair_shell_m: float = setting(0.12, at_least=0, at_most=1)
    """Largest distance of hair from scalp and neck in metres."""
    sh_degree: int = setting(1, at_least=0, at_most=3)
    """Degree of the spherical harmonics of the view-dependent colour, 0 to 3."""
    also_exact: bool = True
    """Also fit an avatar from the dataset's exact poses, for its predictions only."""
    lr_means: float = setting(0.03, above=0, at_most=10)
    """Learning rate of the positions, in triangle sizes."""
    lr_scales: float = setting(0.02, above=0, at_most=10)
    """Learning rate of the log scales."""
    lr_quats: float = setting(0.01, above=0, at_most=10)
    """Learning rate of the rotations."""
    lr_opacities: float = setting(0.05, above=0, at_most=10)
    """Learning rate of the opacity logits."""
    lr_colors: float = setting(0.02, above=0, at_most=10)
    """Learning rate of the constant colour coefficient; for the view-dependent ones a twentieth of it."""
    lr_final: float = setting(0.1, above=0, at_most=1)
    """Learning rates decay exponentially to this share of their initial values."""
    weight_ssim: float = setting(0.2, at_least=0, at_most=1)
    """Weight of 1 - SSIM; the mean absolute error has the remaining weight."""
    weight_position: float = setting(0.01, at_least=0, at_most=1000)
    """Weight of the penalty on skin Gaussians more than one triangle size away from their triangle's centre."""
    weight_scale: float = setting(1.0, at_least=0, at_most=1000)
    """Weight of the penalty on Gaussians above the allowed size."""
    weight_hair: float = setting(0.005, at_least=0, at_most=1000)
    """Weight of the penalty on opacity times distance from the head, hair only: it removes hair that no view needs."""
    portrait_n_skin: int = setting(40000, at_least=1, at_most=5_000_000)
    """Number of Gaussians on the surface of a portrait's head."""
    portrait_n_hair: int = setting(14000, at_least=0, at_most=5_000_000)
    """Largest number of Gaussians for a portrait's hair."""
    portrait_n_iterations: int = setting(240, at_least=0, at_most=1_000_000)
    """Adam steps per portrait."""
    portrait_size: int = setting(384, at_least=1, at_most=4096)
    """Side in pixels at which the photo is fitted."""
    portrait_views_weight: float = setting(0.25, at_least=0, at_most=1000)
    """Weight of the generated views; that of the photo is 1."""
    turntable_size: int = setting(256, at_least=1, at_most=4096)
    """Side of the turntable video in pixels."""
    turntable_yaw_max_deg: float = setting(60.0, at_least=0, at_most=180)
    """Largest azimuth of the turntable video to either side."""

    def __post_init__(self) -> None:
        check_settings(self, "fit")
