"""Cameras."""

from __future__ import annotations

from headforge.geometry import cameras
from headforge.types import Camera


def orbit_camera(
    yaw_deg: float = 0.0, pitch_deg: float = 0.0, *, size: int = 512, distance_m: float = 1.0, fov_deg: float = 21.5
) -> Camera:
    """Return an unbatched camera that looks at the head's origin from `distance_m` metres, for `size` x `size` pixels.

    yaw_deg is the azimuth (0 in front of the face, positive towards the subject's left), pitch_deg the elevation
    (positive above), fov_deg the field of view of the whole picture. By default the picture spans 0.38 m at the head:
    about two thirds of its height is head. OpenCV axes; the whole convention is in docs/conventions.md.
    """
    focal_px = cameras.focal_px_from_fov(fov_deg, size)
    return cameras.orbit_camera(yaw_deg, pitch_deg, distance_m=distance_m, focal_px=focal_px, width=size, height=size)
