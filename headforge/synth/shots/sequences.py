"""Motion sequences: one person's face and head over time. Every value depends on (seed, subject, time) only.

Between keyframes, each drawn by its own number, values move with minimum jerk (Flash and Hogan 1985, eq. 4): twice
differentiable, at rest at each end, never outside what the two keyframes span.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from headforge.flame.model import HeadModel
from headforge.synth.config import SynthesizeConfig
from headforge.synth.shots.samplers import MAX_GAZE_RAD, face_params, item_rng
from headforge.types import HeadParams

PEAK_SPEED = 1.875
"""Largest slope of the minimum-jerk curve from 0 to 1."""


@dataclass(frozen=True)
class Rhythm:
    """Timing of changes."""

    name: str
    interval_s: float
    """Time from keyframe to keyframe."""
    move_s: float
    """Duration of the change, at the interval's end; before that the last keyframe holds."""

    @property
    def peak_speed_per_s(self) -> float:
        """Largest speed of a value whose keyframes differ by 1."""
        return PEAK_SPEED / self.move_s


EXPRESSION = Rhythm("expression", 1.1, 0.6)
GAZE = Rhythm("gaze", 0.8, 0.16)
HEAD = Rhythm("head", 1.5, 1.5)
BLINK_EVERY_S, BLINK_CLOSES_S, BLINK_OPENS_S = 3.0, 0.12, 0.24
"""Interval with one blink each; times that the lids take to shut and to open."""
LIDS_FOLLOW_GAZE = 0.9
"""Closing of the lids per radian that the eyes look down."""
HEAD_SHARES = (0.5, 1.0, 0.35)
"""Largest nod, turn and tilt of the head as shares of `head_turn_max_deg`."""


def minimum_jerk(share: float) -> float:
    """Return progress from 0 to 1 after `share` of a movement's time."""
    t = min(max(share, 0.0), 1.0)
    return t**3 * (10 - 15 * t + 6 * t * t)


def between_keyframes(
    rhythm: Rhythm, seed: int, subject: int, time_s: float, keyframe: Callable[[np.random.Generator], np.ndarray]
) -> np.ndarray:
    """Interpolate the draws of `keyframe` at a time; the time of the first keyframe differs by subject."""
    place = time_s / rhythm.interval_s + item_rng(seed, "phase", rhythm.name, subject).random()
    before = math.floor(place)
    moved = minimum_jerk(((place - before - 1) * rhythm.interval_s + rhythm.move_s) / rhythm.move_s)
    start, end = (keyframe(item_rng(seed, "keyframe", rhythm.name, subject, k)) for k in (before, before + 1))
    return start + (end - start) * moved


def sequence_params(
    config: SynthesizeConfig, head: HeadModel, shape: torch.Tensor, subject: int, time_s: float
) -> HeadParams:
    """Return unbatched parameters of the person with identity `shape` [n_shape] at a time: face, gaze, blinks, head."""
    lids_at = [i for i, name in enumerate(head.expression_names) if name.startswith("blink")]
    opened_by = [i for i, name in enumerate(head.expression_names) if name in ("eyes_wide", "squint")]

    def face(rng: np.random.Generator) -> np.ndarray:
        params = face_params(config, head, shape, rng)
        return torch.cat([params.expr, params.jaw]).double().numpy()

    values = between_keyframes(EXPRESSION, config.seed, subject, time_s, face)
    expr, jaw = values[: head.n_expr], values[head.n_expr :]
    gaze = between_keyframes(GAZE, config.seed, subject, time_s, _gaze) * config.expression_strength
    lids = 1 - (1 - blink(config.seed, subject, time_s)) * (1 - LIDS_FOLLOW_GAZE * max(gaze[0], 0.0))
    expr[lids_at] = lids * min(config.expression_strength, 1.0)
    expr[opened_by] *= 1 - lids
    turn = between_keyframes(HEAD, config.seed, subject, time_s, _head_turn)
    eyes = [gaze[0], gaze[1], 0.0, gaze[0], gaze[1], 0.0]
    return head.neutral().replace(
        shape=shape,
        expr=torch.tensor(expr, dtype=torch.float32),
        jaw=torch.tensor(jaw, dtype=torch.float32),
        eyes=torch.tensor(eyes, dtype=torch.float32),
        rotation=torch.tensor(turn * math.radians(config.head_turn_max_deg), dtype=torch.float32),
    )


def blink(seed: int, subject: int, time_s: float) -> float:
    """Return how far a blink has shut the eyes, 0 to 1."""
    slot = math.floor(time_s / BLINK_EVERY_S)
    spare_s = BLINK_EVERY_S - BLINK_CLOSES_S - BLINK_OPENS_S
    since_s = time_s - slot * BLINK_EVERY_S - spare_s * item_rng(seed, "blink", subject, slot).random()
    return minimum_jerk(since_s / BLINK_CLOSES_S) - minimum_jerk((since_s - BLINK_CLOSES_S) / BLINK_OPENS_S)


def _gaze(rng: np.random.Generator) -> np.ndarray:
    """Return the down and sideways turn of both eyes, radians."""
    return np.clip(rng.normal(0, 0.45, 2), -1, 1) * MAX_GAZE_RAD


def _head_turn(rng: np.random.Generator) -> np.ndarray:
    """Return [3] nod, turn and tilt as shares of the largest turn: an axis-angle vector once scaled."""
    return np.clip(rng.normal(0, 0.5, 3), -1, 1) * HEAD_SHARES
