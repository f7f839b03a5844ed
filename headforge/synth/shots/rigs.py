"""Capture rigs: synchronised cameras at fixed places, each with its own intrinsics.

They have the extent and the number of cameras of published rigs, not their calibration, which is not public for all.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch

from headforge.geometry.cameras import orbit_camera
from headforge.geometry.seeding import item_seed
from headforge.synth.config import SynthesizeConfig
from headforge.types import Camera


@dataclass(frozen=True)
class RigCamera:
    """Direction of a rig's camera from the point that all look at."""

    name: str
    yaw_deg: float
    """True azimuth, positive at the subject's left."""
    pitch_deg: float
    """True elevation, positive above."""


def _rows(*rows: tuple[float, tuple[float, ...]]) -> tuple[RigCamera, ...]:
    """Return cameras at (elevation, azimuths), the most frontal first: a dataset's first views serve as references."""
    places = [(yaw, pitch) for pitch, yaws in rows for yaw in yaws]
    places.sort(key=lambda place: (round(math.hypot(*place), 6), place))
    return tuple(RigCamera(f"camera_{i:02d}", yaw, pitch) for i, (yaw, pitch) in enumerate(places))


RIGS: Mapping[str, tuple[RigCamera, ...]] = {
    # NeRSemble (Kirschstein et al. 2023): 16 cameras that span 93 degrees sideways and 32 up and down. The places
    # inside that span are ours: 4, 7 and 5 cameras in three staggered rows.
    "nersemble_like": _rows(
        (16.0, (-34.875, -11.625, 11.625, 34.875)),
        (0.0, (-46.5, -31.0, -15.5, 0.0, 15.5, 31.0, 46.5)),
        (-16.0, (-38.75, -19.375, 0.0, 19.375, 38.75)),
    ),
    # MEAD (Wang et al. 2020): front, 30 and 60 degrees to either side, from above and from below. The elevations of the
    # last two are ours; left is the subject's.
    "mead_like": (
        RigCamera("front", 0.0, 0.0),
        RigCamera("left_30", 30.0, 0.0),
        RigCamera("right_30", -30.0, 0.0),
        RigCamera("top", 0.0, 30.0),
        RigCamera("down", 0.0, -30.0),
        RigCamera("left_60", 60.0, 0.0),
        RigCamera("right_60", -60.0, 0.0),
    ),
}
"""Cameras by the rig's name; the index in a rig is part of a view's number, so that cameras may only be appended."""


def rig_camera(config: SynthesizeConfig, place: RigCamera, size: int) -> Camera:
    """Return one camera of the rig `config.sampler` for pictures of `size` x `size` pixels; the same for every subject.

    Focal length and principal point differ from camera to camera, by up to `config.rig_deviation` of the focal length
    and of the picture's width.
    """
    rng = np.random.default_rng(item_seed(config.seed, "rig", config.sampler, place.name))
    focal, *principal = rng.uniform(-1, 1, 3) * config.rig_deviation
    camera = orbit_camera(
        place.yaw_deg,
        place.pitch_deg,
        distance_m=config.distance_m,
        focal_px=size / 2 / math.tan(math.radians(config.fov_deg) / 2) * (1 + focal),
        width=size,
        height=size,
        target=torch.tensor([0.0, config.target_height_m, 0.0]),
    )
    K = camera.K.clone()
    K[:2, 2] += size * torch.tensor(principal, dtype=torch.float32)
    return Camera(K, camera.viewmat, size, size)
