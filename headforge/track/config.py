"""Settings of the stage `track`."""

from __future__ import annotations

from dataclasses import dataclass, field

from headforge.errors import ConfigError
from headforge.settings import ADDED

CAMERAS = ("estimated", "known")
LANDMARKS = ("simulated", "detected")


@dataclass(frozen=True)
class TrackConfig:
    """Settings of the stage `track`."""

    seed: int = 0
    """Seed of the synthetic detector's errors."""
    landmark_noise: float = 0.002
    """Standard deviation of the synthetic detector's error per coordinate, as a share of the image width."""
    missing_share: float = 0.05
    """Share of the visible landmarks that the synthetic detector misses."""
    outlier_share: float = 0.0
    """Share of the visible landmarks that the synthetic detector puts somewhere else."""
    focal_known: bool = False
    """Take the dataset's focal length as known instead of estimating one per subject."""
    initial_fov_deg: float = 25.0
    """Field of view at which the search for the focal length starts."""
    focal_sigma_log: float = 0.5
    """Prior width of the logarithm of the focal length."""
    shape_sigma: float = 1.0
    """Prior width of the shape coefficients."""
    expr_sigma: float = 0.5
    """Prior width of the expression coefficients."""
    jaw_sigma_rad: float = 0.15
    """Prior width of the jaw's opening; its sidewards and twisting angles have a fifth of it."""
    n_iterations: int = 14
    """Levenberg-Marquardt iterations at most."""
    min_landmarks: int = 20
    """A view with fewer landmarks is rejected."""
    max_residual: float = 0.02
    """A view with a larger root mean square residual, as a share of the image width, is rejected."""
    photo_fov_deg: float = 22.0
    """Field of view assumed for the square head crop of a photo."""
    photo_size: int = 512
    """Side of the square head crop of a photo, in pixels."""
    photo_margin: float = 1.0
    """Margin around the head in a photo's crop, in multiples of the default one."""
    photo_landmark_noise: float = 0.02
    """Standard deviation of a photo's landmarks (detector and head model together), in outer-eye distances."""
    photo_max_residual: float = 0.12
    """A photo with a larger root mean square residual, in outer-eye distances, is rejected."""
    coefficient_limit: float = 3.0
    """Largest shape or expression coefficient of a fit to detected landmarks."""
    camera: str = field(default="estimated", metadata=ADDED)
    """Cameras of the dataset's views: "estimated" from the landmarks, or "known": the dataset's own ones in any world
    coordinates, before which the head is placed. Views of one moment are then labelled even where no face is seen."""
    landmarks: str = field(default="simulated", metadata=ADDED)
    """Where a view's landmarks come from: "simulated" from the exact parameters, or "detected" in the picture (needs
    the extra photos)."""
    min_face_views: int = field(default=3, metadata=ADDED)
    """With known cameras, a subject whose face is seen in fewer views is rejected."""
    photometric: bool = field(default=False, metadata=ADDED)
    """Refine a subject's tracks by its pictures (texture, light, silhouette) after the landmarks."""
    photometric_texture_steps: int = field(default=40, metadata=ADDED)
    """Steps of that for texture and light alone; VHAP takes 500."""
    photometric_joint_steps: int = field(default=120, metadata=ADDED)
    """Then steps for everything together; VHAP takes 500."""
    photometric_size: int = field(default=128, metadata=ADDED)
    """Height in pixels to which the pictures are averaged down for that."""

    def __post_init__(self) -> None:
        positive = ("initial_fov_deg", "focal_sigma_log", "shape_sigma", "expr_sigma", "jaw_sigma_rad", "n_iterations",
                    "max_residual", "photo_fov_deg", "photo_margin", "photo_landmark_noise", "photo_max_residual",
                    "coefficient_limit")  # fmt: skip
        for name in positive:
            _require(name, getattr(self, name), getattr(self, name) > 0, "a number above 0")
        for name in ("missing_share", "outlier_share"):
            _require(name, getattr(self, name), 0 <= getattr(self, name) < 1, "a share in [0, 1)")
        for name in ("initial_fov_deg", "photo_fov_deg"):
            _require(name, getattr(self, name), getattr(self, name) < 120, "an angle below 120 degrees")
        _require("landmark_noise", self.landmark_noise, 0 <= self.landmark_noise <= 0.1, "a share in [0, 0.1]")
        _require("min_landmarks", self.min_landmarks, 6 <= self.min_landmarks <= 68, "a count from 6 to 68")
        _require("camera", self.camera, self.camera in CAMERAS, "one of " + ", ".join(CAMERAS))
        _require("landmarks", self.landmarks, self.landmarks in LANDMARKS, "one of " + ", ".join(LANDMARKS))
        _require("min_face_views", self.min_face_views, self.min_face_views >= 2, "a count of at least 2")
        for name in ("photometric_texture_steps", "photometric_joint_steps"):
            _require(name, getattr(self, name), getattr(self, name) >= 0, "a count of at least 0")
        _require("photometric_size", self.photometric_size, 32 <= self.photometric_size <= 1024,
                 "a size from 32 to 1024 px")  # fmt: skip
        _require("photo_size", self.photo_size, 64 <= self.photo_size <= 2048, "a size from 64 to 2048 px")


def _require(name: str, found: object, fine: bool, expected: str) -> None:
    if not fine:
        key = f"track.{name}"
        raise ConfigError(key, found, f"{key} is {found!r}, expected {expected}.", f"set {key} to {expected}.")
