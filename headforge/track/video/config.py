"""Settings of tracking a film of one person."""

from __future__ import annotations

from dataclasses import dataclass

from headforge.settings import check_settings, setting

DETECTORS = ("dlib", "mediapipe")
REFERENCE_FPS = 25.0
"""The frame rate that the smoothness settings speak of."""


@dataclass(frozen=True)
class VideoConfig:
    """Settings of tracking videos, in the stage `track`."""

    head: str = setting("", added=True)
    """Head model to fit: the name of an asset of the kind flame or ict; by default the dataset's own."""
    detector: str = setting("dlib", one_of=DETECTORS)
    """What finds the face: "dlib" (the extra photos), or "mediapipe" (the extra and the asset of that name)."""
    max_side: int = setting(1280, at_least=64, at_most=4096)
    """Frames with a longer side are scaled down to this many pixels before anything else."""
    max_frames: int = setting(3000, at_least=1, at_most=1_000_000)
    """A longer video is refused: all frames are solved together."""
    head_fov_deg: float = setting(22.0, above=0, below=120)
    """Field of view that a square head crop is assumed to have when the search for the focal length starts."""
    focal_sigma_log: float = setting(0.2, above=0, at_most=1000)
    """Prior width of the logarithm of the focal length, which a head that hardly turns does not tell."""
    landmark_noise: float = setting(0.02, above=0, at_most=100)
    """Standard deviation of a landmark (detector and head model together), in outer-eye distances."""
    shape_sigma: float = setting(1.0, above=0, at_most=1000)
    """Prior width of the shape coefficients."""
    independent_frames: float = setting(10.0, above=0, at_most=1_000_000)
    """How many frames' landmarks all frames together count for where shape and focal length are concerned: what a head
    model can't show is the same in every frame and does not average out."""
    expr_sigma: float = setting(0.5, above=0, at_most=1000)
    """Prior width of the expression coefficients."""
    jaw_sigma_rad: float = setting(0.15, above=0, at_most=1000)
    """Prior width of the jaw's opening; its sidewards and twisting angles have a fifth of it."""
    coefficient_limit: float = setting(3.0, above=0, at_most=1000)
    """Largest shape or expression coefficient."""
    smooth_turn_deg: float = setting(0.15, above=0, at_most=10_000_000)
    """Standard deviation of the head's turn's second difference from frame to frame at 25 frames a second."""
    smooth_move_mm: float = setting(0.5, above=0, at_most=10_000_000)
    """The same of the head's place."""
    smooth_jaw_deg: float = setting(1.0, above=0, at_most=10_000_000)
    """The same of the jaw."""
    smooth_expr: float = setting(0.2, above=0, at_most=10_000_000)
    """The same of each expression coefficient."""
    max_gap_s: float = setting(0.5, above=0, at_most=3600)
    """Longer gaps without landmarks cut the film: smoothness does not reach over them."""
    n_iterations: int = setting(20, at_least=1, at_most=10_000)
    """Levenberg-Marquardt iterations at most."""
    min_landmarks: int = setting(20, at_least=6, at_most=68)
    """A frame with fewer landmarks is rejected."""
    max_residual: float = setting(0.12, above=0, at_most=100)
    """A frame whose landmarks are off by more, in outer-eye distances on average, is rejected."""
    max_rejected_share: float = setting(0.25, at_least=0, below=1)
    """A video of which a larger share of the frames is rejected is rejected as a whole."""
    overlay_size: int = setting(384, at_least=64, at_most=2048)
    """Longer side of the film that shows the fitted head over the video, in pixels."""

    def __post_init__(self) -> None:
        check_settings(self, "video")
