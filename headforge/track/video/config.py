"""Settings of tracking a film of one person."""

from __future__ import annotations

from dataclasses import dataclass, field

from headforge.errors import ConfigError
from headforge.settings import ADDED

DETECTORS = ("dlib", "mediapipe")
REFERENCE_FPS = 25.0
"""The frame rate that the smoothness settings speak of."""


@dataclass(frozen=True)
class VideoConfig:
    """Settings of tracking videos, in the stage `track`."""

    head: str = field(default="", metadata=ADDED)
    """Head model to fit: the name of an asset of the kind flame or ict; by default the dataset's own."""
    detector: str = "dlib"
    """What finds the face: "dlib" (the extra photos), or "mediapipe" (the extra and the asset of that name)."""
    max_side: int = 1280
    """Frames with a longer side are scaled down to this many pixels before anything else."""
    max_frames: int = 3000
    """A longer video is refused: all frames are solved together."""
    head_fov_deg: float = 22.0
    """Field of view that a square head crop is assumed to have when the search for the focal length starts."""
    focal_sigma_log: float = 0.2
    """Prior width of the logarithm of the focal length, which a head that hardly turns does not tell."""
    landmark_noise: float = 0.02
    """Standard deviation of a landmark (detector and head model together), in outer-eye distances."""
    shape_sigma: float = 1.0
    """Prior width of the shape coefficients."""
    independent_frames: float = 10.0
    """How many frames' landmarks all frames together count for where shape and focal length are concerned: what a head
    model can't show is the same in every frame and does not average out."""
    expr_sigma: float = 0.5
    """Prior width of the expression coefficients."""
    jaw_sigma_rad: float = 0.15
    """Prior width of the jaw's opening; its sidewards and twisting angles have a fifth of it."""
    coefficient_limit: float = 3.0
    """Largest shape or expression coefficient."""
    smooth_turn_deg: float = 0.15
    """Standard deviation of the head's turn's second difference from frame to frame at 25 frames a second."""
    smooth_move_mm: float = 0.5
    """The same of the head's place."""
    smooth_jaw_deg: float = 1.0
    """The same of the jaw."""
    smooth_expr: float = 0.2
    """The same of each expression coefficient."""
    max_gap_s: float = 0.5
    """Longer gaps without landmarks cut the film: smoothness does not reach over them."""
    n_iterations: int = 20
    """Levenberg-Marquardt iterations at most."""
    min_landmarks: int = 20
    """A frame with fewer landmarks is rejected."""
    max_residual: float = 0.12
    """A frame whose landmarks are off by more, in outer-eye distances on average, is rejected."""
    max_rejected_share: float = 0.25
    """A video of which a larger share of the frames is rejected is rejected as a whole."""
    overlay_size: int = 384
    """Longer side of the film that shows the fitted head over the video, in pixels."""

    def __post_init__(self) -> None:
        positive = ("max_frames", "head_fov_deg", "focal_sigma_log", "landmark_noise", "shape_sigma", "expr_sigma",
                    "jaw_sigma_rad", "coefficient_limit", "independent_frames", "smooth_turn_deg", "smooth_move_mm",
                    "smooth_jaw_deg", "smooth_expr", "max_gap_s", "n_iterations", "max_residual")  # fmt: skip
        for name in positive:
            _require(name, getattr(self, name), getattr(self, name) > 0, "a number above 0")
        _require("detector", self.detector, self.detector in DETECTORS, f"one of {', '.join(DETECTORS)}")
        _require("head_fov_deg", self.head_fov_deg, self.head_fov_deg < 120, "an angle below 120 degrees")
        _require("max_side", self.max_side, 64 <= self.max_side <= 4096, "a size from 64 to 4096 px")
        _require("overlay_size", self.overlay_size, 64 <= self.overlay_size <= 2048, "a size from 64 to 2048 px")
        _require("min_landmarks", self.min_landmarks, 6 <= self.min_landmarks <= 68, "a count from 6 to 68")
        share = self.max_rejected_share
        _require("max_rejected_share", share, 0 <= share < 1, "a share in [0, 1)")


def _require(name: str, found: object, fine: bool, expected: str) -> None:
    if not fine:
        key = f"video.{name}"
        raise ConfigError(key, found, f"{key} is {found!r}, expected {expected}.", f"set {key} to {expected}.")
