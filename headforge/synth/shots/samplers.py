"""Split, camera and expression of each view of a dataset. Every value depends on (seed, item) only."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import torch

from headforge.flame.model import HeadModel
from headforge.geometry.cameras import orbit_camera
from headforge.geometry.seeding import item_seed
from headforge.synth.config import SynthesizeConfig
from headforge.types import Camera, HeadParams

_PLASTIC = 1.32471795724474602596
"""Root of x^3 = x + 1: its powers give the additive sequence with the lowest known discrepancy in the plane."""
MAX_JAW_RAD = 0.36
MAX_GAZE_RAD = (0.22, 0.38)
"""Largest turn of the eyes up or down and sideways."""
_MOODS: tuple[tuple[float, Mapping[str, tuple[float, float]]], ...] = (
    (0.22, {}),
    (0.22, {"smile": (0.4, 1.2), "squint": (0.0, 0.3)}),
    (0.10, {"smile": (0.6, 1.2), "lips_open": (0.3, 0.9), "squint": (0.1, 0.4)}),
    (0.08, {"frown": (0.5, 1.1), "brow_down": (0.2, 1.0)}),
    (0.09, {"brow_up": (0.5, 1.2), "eyes_wide": (0.3, 1.0), "lips_open": (0.0, 0.8)}),
    (0.08, {"mouth_pucker": (0.5, 1.1), "brow_up": (0.0, 0.4)}),
    (0.07, {"mouth_wide": (0.4, 1.0), "lips_open": (0.2, 1.0)}),
    (0.05, {"cheek_puff": (0.5, 1.0), "lip_press": (0.3, 0.8)}),
    (0.05, {"sneer": (0.4, 1.0), "brow_down": (0.3, 0.8)}),
    (0.04, {"smile_left": (0.5, 1.2), "mouth_left": (0.0, 0.6)}),
)
"""Frequency of each mood and the ranges of its named expressions."""


def item_rng(seed: int, *parts: str | int) -> np.random.Generator:
    """Return an independent random generator for one item."""
    return np.random.default_rng(item_seed(seed, *parts))


def subject_name(subject: int) -> str:
    """Return the subject's id in files."""
    return f"{subject:06d}"


def split_of(seed: int, subject: int, heldout_every: int) -> str:
    """Return "test" for exactly one subject of every block of `heldout_every` consecutive ones, else "train"."""
    block, place = divmod(subject, heldout_every)
    return "test" if item_seed(seed, "split", block) % heldout_every == place else "train"


def view_angles(config: SynthesizeConfig, subject: int, view: int) -> tuple[float, float]:
    """Return azimuth and elevation in degrees: near-frontal for the first views, then spread evenly."""
    rng = item_rng(config.seed, "camera", subject)
    start = rng.random(2)
    fraction = (start + (view + 1) * np.array([1 / _PLASTIC, 1 / _PLASTIC**2])) % 1.0
    if view < config.n_reference_views:
        yaw_range, low, high = (
            config.reference_yaw_max_deg,
            -config.reference_pitch_max_deg,
            config.reference_pitch_max_deg,
        )
    else:
        yaw_range, low, high = config.yaw_max_deg, config.pitch_min_deg, config.pitch_max_deg
    return float((2 * fraction[0] - 1) * yaw_range), float(low + fraction[1] * (high - low))


def orbit_angles(config: SynthesizeConfig, subject: int, index: int, n: int) -> tuple[float, float]:
    """Return azimuth and elevation in degrees of camera `index` of `n` on a full turn that starts in front of the face.

    The steps are even; the elevation is the subject's, drawn between `pitch_min_deg` and `pitch_max_deg`.
    """
    pitch = item_rng(config.seed, "orbit", subject).uniform(config.pitch_min_deg, config.pitch_max_deg)
    return (360 * index / n + 180) % 360 - 180, pitch


def arc_angles(config: SynthesizeConfig, subject: int, index: int, n: int) -> tuple[float, float]:
    """Return azimuth and elevation in degrees of camera `index` of `n` on an arc from the face's right to its left.

    The steps are even; the elevation is the subject's, near the height of the face.
    """
    high = config.reference_pitch_max_deg
    pitch = item_rng(config.seed, "frontal arc", subject).uniform(-high, high)
    return config.yaw_max_deg * (2 * index / (n - 1) - 1) if n > 1 else 0.0, pitch


def view_camera(config: SynthesizeConfig, yaw_deg: float, pitch_deg: float, size: int) -> Camera:
    """Return the camera of one view for a picture of `size` x `size` pixels."""
    focal_px = size / 2 / math.tan(math.radians(config.fov_deg) / 2)
    target = torch.tensor([0.0, config.target_height_m, 0.0])
    return orbit_camera(
        yaw_deg, pitch_deg, distance_m=config.distance_m, focal_px=focal_px, width=size, height=size, target=target
    )


def view_params(config: SynthesizeConfig, head: HeadModel, shape: torch.Tensor, subject: int, view: int) -> HeadParams:
    """Return unbatched parameters of one view of the person with identity `shape` [n_shape]: expression, jaw, eyes."""
    return face_params(config, head, shape, item_rng(config.seed, "expression", subject, view))


def face_params(config: SynthesizeConfig, head: HeadModel, shape: torch.Tensor, rng: np.random.Generator) -> HeadParams:
    """Return unbatched parameters of the person with identity `shape` [n_shape]: random expression, jaw and gaze."""
    strength = config.expression_strength
    values = dict.fromkeys(head.expression_names, 0.0)
    for name in values:
        values[name] = float(rng.normal(0, 0.12)) if not name.startswith("blink") else 0.0
    mood = _MOODS[rng.choice(len(_MOODS), p=[share for share, _ in _MOODS])][1]
    for name, (low, high) in mood.items():
        if name in values:
            values[name] += rng.uniform(low, high)
    jaw = rng.choice([0.0, rng.uniform(0.02, 0.12), rng.uniform(0.12, MAX_JAW_RAD)], p=[0.5, 0.3, 0.2])
    if values.get("lip_press", 0) > 0.2:
        jaw = 0.0
    pitch, yaw = rng.normal(0, 0.45, 2) * MAX_GAZE_RAD
    gaze = np.clip([pitch, yaw], [-MAX_GAZE_RAD[0], -MAX_GAZE_RAD[1]], MAX_GAZE_RAD)
    _blink(rng, values, gaze[0])
    expr = torch.tensor([values[name] for name in head.expression_names]) * strength
    params = head.neutral()
    eyes = torch.tensor([gaze[0], gaze[1], 0.0, gaze[0], gaze[1], 0.0], dtype=torch.float32)
    jaw_pose = torch.tensor([jaw, rng.normal(0, 0.012), 0.0], dtype=torch.float32) * strength
    return params.replace(shape=shape, expr=expr, jaw=jaw_pose, eyes=eyes * strength)


def _blink(rng: np.random.Generator, values: dict[str, float], gaze_down: float) -> None:
    """Shut or nearly shut the eyes sometimes, wink rarely; the lids follow a lowered gaze."""
    both = rng.choice([0.0, rng.uniform(0.25, 0.6), 1.0], p=[0.86, 0.07, 0.07]) + max(gaze_down, 0) * 0.9
    left = right = min(float(both), 1.0)
    if rng.random() < 0.03:
        left = 1.0
    elif rng.random() < 0.03:
        right = 1.0
    for name, value in (("blink_left", left), ("blink_right", right)):
        if name in values:
            values[name] = value
    if max(left, right) > 0.2:
        for name in ("eyes_wide", "squint"):
            values[name] = min(values.get(name, 0.0), 0.0) if name in values else 0.0
