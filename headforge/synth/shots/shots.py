"""Camera and moment of each view of a subject: the meaning of view numbers, and dataset rows.

With the motion "stills" and no rig, each view has a camera and an expression of its own. Otherwise `n` fixed cameras
look at the same moments: view = timestep * n + camera.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
import torch

from headforge.flame.model import HeadModel
from headforge.geometry.seeding import item_seed
from headforge.synth.config import SynthesizeConfig
from headforge.synth.shots.rigs import RIGS, rig_camera
from headforge.synth.shots.samplers import (
    arc_angles,
    orbit_angles,
    split_of,
    subject_name,
    view_angles,
    view_camera,
    view_params,
)
from headforge.synth.shots.sequences import sequence_params
from headforge.types import Camera, HeadParams, Sample


@dataclass(frozen=True)
class Shot:
    """Camera and moment of a view, and the parts of its row that are independent of the generator."""

    subject: int
    view: int
    split: str
    seed: int
    """Seed of the view."""
    camera: Camera
    """Unbatched."""
    yaw_deg: float
    pitch_deg: float
    camera_id: str | None
    """None if the view has a camera of its own."""
    timestep: int | None
    """None if the view has a moment of its own."""


def _range_angles(config: SynthesizeConfig, subject: int, index: int, n: int) -> tuple[float, float]:
    """Return `view_angles`: the cameras before the `n`-th do not depend on `n`."""
    return view_angles(config, subject, index)


ANGLES: Mapping[str, Callable[[SynthesizeConfig, int, int, int], tuple[float, float]]] = {
    "ranges": _range_angles,
    "orbit": orbit_angles,
    "frontal_arc": arc_angles,
}
"""Azimuth and elevation in degrees of (config, subject, camera, number of cameras), by the sampler's name."""


def n_fixed_cameras(config: SynthesizeConfig) -> int | None:
    """Return the number of cameras that share moments; None if each view has a camera and a moment of its own."""
    if config.sampler in RIGS:
        return len(RIGS[config.sampler])
    return config.sequence_cameras if config.motion == "sequence" else None


def view_shot(config: SynthesizeConfig, subject: int, view: int) -> Shot:
    """Return the camera and the moment of one view."""
    n = n_fixed_cameras(config)
    index, timestep = (view, None) if n is None else (view % n, view // n)
    split = split_of(config.seed, subject, config.heldout_every)
    seed = item_seed(config.seed, "view", subject, view)
    if config.sampler in RIGS:
        place = RIGS[config.sampler][index]
        camera = rig_camera(config, place, config.image_size)
        return Shot(subject, view, split, seed, camera, place.yaw_deg, place.pitch_deg, place.name, timestep)
    yaw_deg, pitch_deg = ANGLES[config.sampler](config, subject, index, n or config.views_per_subject)
    camera = view_camera(config, yaw_deg, pitch_deg, config.image_size)
    name = None if n is None else f"camera_{index:02d}"
    return Shot(subject, view, split, seed, camera, yaw_deg, pitch_deg, name, timestep)


def shot_params(config: SynthesizeConfig, head: HeadModel, shape: torch.Tensor, shot: Shot) -> HeadParams:
    """Return unbatched parameters of the person with the identity `shape` [n_shape] at the moment of a shot.

    Cameras that look at the same moment see the same.
    """
    if config.motion == "sequence":
        assert shot.timestep is not None
        return sequence_params(config, head, shape, shot.subject, shot.timestep / config.frame_rate_hz)
    moment = shot.view if shot.timestep is None else shot.timestep
    return view_params(config, head, shape, shot.subject, moment)


def sample_of(
    shot: Shot,
    image: np.ndarray,
    mask: np.ndarray,
    params: HeadParams,
    source: str,
    attributes: Mapping[str, str] = MappingProxyType({}),
) -> Sample:
    """Return the row of a picture [H, W, 3] uint8 with its mask [H, W] uint8, not yet gated.

    `params` may be `HeadParams.unknown()`; `source` and `attributes` as in `Sample`.
    """
    return Sample(
        subject_id=subject_name(shot.subject),
        view=shot.view,
        split=shot.split,
        source=source,
        seed=shot.seed,
        image=image,
        mask=mask,
        camera=shot.camera,
        params=params,
        yaw_deg=shot.yaw_deg,
        pitch_deg=shot.pitch_deg,
        attributes=attributes,
        timestep=shot.timestep,
        camera_id=shot.camera_id,
    )
