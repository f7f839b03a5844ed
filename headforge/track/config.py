"""Settings of the stage `track`."""

from __future__ import annotations

from dataclasses import dataclass

from headforge.settings import LARGEST_SEED, check_settings, setting

CAMERAS = ("estimated", "known")
LANDMARKS = ("simulated", "detected")


@dataclass(frozen=True)
class TrackConfig:
    """Settings of the stage `track`."""

    seed: int = setting(0, at_least=0, at_most=LARGEST_SEED)
    """Seed of the synthetic detector's errors."""
    landmark_noise: float = setting(0.002, at_least=0, at_most=0.1)
    """Standard deviation of the synthetic detector's error per coordinate, relative to the image width."""
    missing_share: float = setting(0.05, at_least=0, below=1)
    """Share of the visible landmarks that the synthetic detector misses."""
    outlier_share: float = setting(0.0, at_least=0, below=1)
    """Share of the visible landmarks that the synthetic detector misplaces."""
    focal_known: bool = False
    """Use the dataset's focal length instead of estimating one per subject."""
    initial_fov_deg: float = setting(25.0, above=0, below=120)
    """Initial field of view of the focal length estimation."""
    focal_sigma_log: float = setting(0.5, above=0, at_most=1000)
    """Prior width of the logarithm of the focal length."""
    shape_sigma: float = setting(1.0, above=0, at_most=1000)
    """Prior width of the shape coefficients."""
    expr_sigma: float = setting(0.5, above=0, at_most=1000)
    """Prior width of the expression coefficients."""
    jaw_sigma_rad: float = setting(0.15, above=0, at_most=1000)
    """Prior width of the jaw's opening angle; a fifth of it for its sideways and twist angles."""
    n_iterations: int = setting(14, at_least=1, at_most=10_000)
    """Largest number of Levenberg-Marquardt iterations."""
    min_landmarks: int = setting(20, at_least=6, at_most=68)
    """Least number of landmarks; a view with fewer is rejected."""
    max_residual: float = setting(0.02, above=0, at_most=100)
    """Largest root mean square residual, relative to the image width; a view with a larger one is rejected."""
    photo_fov_deg: float = setting(22.0, above=0, below=120)
    """Field of view assumed for the square head crop of a photo."""
    photo_size: int = setting(512, at_least=64, at_most=2048)
    """Side of the square head crop of a photo, in pixels."""
    photo_margin: float = setting(1.0, above=0, at_most=100)
    """Margin around the head in a photo's crop, as a multiple of the default one."""
    photo_landmark_noise: float = setting(0.02, above=0, at_most=100)
    """Standard deviation of a photo's landmarks (detector and head model together), in outer-eye distances."""
    photo_max_residual: float = setting(0.12, above=0, at_most=100)
    """Largest root mean square residual, in outer-eye distances; a photo with a larger one is rejected."""
    coefficient_limit: float = setting(3.0, above=0, at_most=1000)
    """Largest shape or expression coefficient of a fit to detected landmarks."""
    camera: str = setting("estimated", one_of=CAMERAS, added=True)
    """Cameras of the dataset's views: "estimated" from the landmarks, or "known": those of the dataset, in any world
    coordinates, in which the head is placed. Views of one moment are then labelled even if no face is visible."""
    landmarks: str = setting("simulated", one_of=LANDMARKS, added=True)
    """Source of the landmarks: "simulated" from the exact parameters, or "detected" in the picture (needs the extra
    photos)."""
    min_face_views: int = setting(3, at_least=2, at_most=1_000_000, added=True)
    """With known cameras: least number of views with a visible face; a subject with fewer is rejected."""
    photometric: bool = setting(False, added=True)
    """Refine a subject's tracks photometrically (texture, light, silhouette) after the landmark fit."""
    photometric_texture_steps: int = setting(40, at_least=0, at_most=1_000_000, added=True)
    """Steps of the photometric refinement for texture and light alone; VHAP uses 500."""
    photometric_joint_steps: int = setting(120, at_least=0, at_most=1_000_000, added=True)
    """Further steps of the photometric refinement for all parameters jointly; VHAP uses 500."""
    photometric_size: int = setting(128, at_least=32, at_most=1024, added=True)
    """Height in pixels to which the pictures are averaged down for the photometric refinement."""

    def __post_init__(self) -> None:
        check_settings(self, "track")
