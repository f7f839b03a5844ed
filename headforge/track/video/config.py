"""Settings of tracking a video of one person."""

from __future__ import annotations

from dataclasses import dataclass

from headforge.settings import check_settings, setting

DETECTORS = ("dlib", "mediapipe")
REFERENCE_FPS = 25.0
"""Frame rate to which the smoothness settings refer."""


@dataclass(frozen=True)
class VideoConfig:
    """Settings of tracking videos, in the stage `track`."""

    head: str = setting("", added=True)
    """Head model to fit: the name of an asset of the kind flame or ict; by default the dataset's own."""
    detector: str = setting("dlib", one_of=DETECTORS)
    """Face detector: "dlib" (needs the extra photos) or "mediapipe" (needs the extra and the asset of that name)."""
    max_side: int = setting(1280, at_least=64, at_most=4096)
    """Largest side of a frame in pixels; larger frames are first scaled down to it."""
    max_frames: int = setting(3000, at_least=1, at_most=1_000_000)
    """Largest number of frames, since all are solved jointly; a longer video is refused."""
    head_fov_deg: float = setting(22.0, above=0, below=120)
    """Initial field of view of a square head crop, for the focal length estimation."""
    focal_sigma_log: float = setting(0.2, above=0, at_most=1000)
    """Prior width of the logarithm of the focal length, which a head that hardly turns does not determine."""
    landmark_noise: float = setting(0.02, above=0, at_most=100)
    """Standard deviation of a landmark (detector and head model together), in outer-eye distances."""
    shape_sigma: float = setting(1.0, above=0, at_most=1000)
    """Prior width of the shape coefficients."""
    independent_frames: float = setting(10.0, above=0, at_most=1_000_000)
    """Effective number of independent frames for shape and focal length: model errors are the same in all frames and do
    not average out."""
    expr_sigma: float = setting(0.5, above=0, at_most=1000)
    """Prior width of the expression coefficients."""
    jaw_sigma_rad: float = setting(0.15, above=0, at_most=1000)
    """Prior width of the jaw's opening angle; a fifth of it for its sideways and twist angles."""
    coefficient_limit: float = setting(3.0, above=0, at_most=1000)
    """Largest shape or expression coefficient."""
    smooth_turn_deg: float = setting(0.15, above=0, at_most=10_000_000)
    """Standard deviation of the second difference of the head's rotation between frames, at 25 frames per second."""
    smooth_move_mm: float = setting(0.5, above=0, at_most=10_000_000)
    """Standard deviation of the second difference of the head's position."""
    smooth_jaw_deg: float = setting(1.0, above=0, at_most=10_000_000)
    """Standard deviation of the second difference of the jaw's angles."""
    smooth_expr: float = setting(0.2, above=0, at_most=10_000_000)
    """Standard deviation of the second difference of each expression coefficient."""
    max_gap_s: float = setting(0.5, above=0, at_most=3600)
    """Longest gap without landmarks that smoothness bridges; longer ones split the video."""
    n_iterations: int = setting(20, at_least=1, at_most=10_000)
    """Largest number of Levenberg-Marquardt iterations."""
    min_landmarks: int = setting(20, at_least=6, at_most=68)
    """Least number of landmarks; a frame with fewer is rejected."""
    max_residual: float = setting(0.12, above=0, at_most=100)
    """Largest mean landmark error, in outer-eye distances; a frame with a larger one is rejected."""
    max_rejected_share: float = setting(0.25, at_least=0, below=1)
    """Largest share of rejected frames; a video with a larger one is rejected."""
    overlay_size: int = setting(384, at_least=64, at_most=2048)
    """Longer side in pixels of the overlay video, which shows the fitted head over the input."""

    def __post_init__(self) -> None:
        check_settings(self, "video")
