"""Films: smooth, inside what the keyframes span, a function of (seed, subject, time)."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from headforge.flame.builtin.head import builtin_head
from headforge.synth.config import SynthesizeConfig
from headforge.synth.shots.samplers import MAX_GAZE_RAD, MAX_JAW_RAD
from headforge.synth.shots.sequences import (
    BLINK_CLOSES_S,
    BLINK_EVERY_S,
    EXPRESSION,
    GAZE,
    HEAD,
    HEAD_SHARES,
    PEAK_SPEED,
    Rhythm,
    between_keyframes,
    blink,
    minimum_jerk,
    sequence_params,
)
from headforge.types import HeadParams

CONFIG = SynthesizeConfig(motion="sequence")
SHAPE = torch.zeros(builtin_head().n_shape)
TIMES = st.floats(0, 1000)


def at(time_s: float, subject: int = 0, config: SynthesizeConfig = CONFIG) -> HeadParams:
    return sequence_params(config, builtin_head(), SHAPE, subject, time_s)


def film(n: int, step_s: float, subject: int = 0, start_s: float = 0.0) -> HeadParams:
    return HeadParams.stack([at(start_s + i * step_s, subject) for i in range(n)])


def test_minimum_jerk_starts_and_ends_at_rest() -> None:
    t = np.linspace(0, 1, 2001)
    values = np.array([minimum_jerk(x) for x in t])
    speed, acceleration = np.gradient(values, t), np.gradient(np.gradient(values, t), t)
    assert values[0] == 0 and values[-1] == 1 and (np.diff(values) >= 0).all()
    assert speed.max() == pytest.approx(PEAK_SPEED, rel=1e-4)
    assert abs(speed[[0, -1]]).max() < 0.01 and abs(acceleration[[2, -3]]).max() < 0.2
    assert minimum_jerk(-1) == 0 and minimum_jerk(2) == 1


@given(time_s=TIMES, step_s=st.floats(1e-3, 0.2), subject=st.integers(0, 10**6))
@settings(max_examples=80, deadline=None)
def test_values_between_keyframes_are_bounded_in_place_and_speed(time_s: float, step_s: float, subject: int) -> None:
    rhythm = Rhythm("test", 1.0, 0.4)
    values = [between_keyframes(rhythm, 3, subject, t, lambda rng: rng.uniform(-1, 1, 3)) for t in
              (time_s, time_s + step_s)]  # fmt: skip
    assert np.abs(values).max() <= 1
    assert np.abs(values[1] - values[0]).max() <= 2 * rhythm.peak_speed_per_s * step_s + 1e-9


@given(time_s=TIMES, step_s=st.floats(1e-3, 0.1), subject=st.integers(0, 1000))
@settings(max_examples=80, deadline=None)
def test_blinks_are_bounded_in_speed(time_s: float, step_s: float, subject: int) -> None:
    before, after = blink(0, subject, time_s), blink(0, subject, time_s + step_s)
    assert 0 <= before <= 1
    assert abs(after - before) <= PEAK_SPEED / BLINK_CLOSES_S * step_s + 1e-9


def test_eyes_shut_once_in_each_slot_and_are_open_between() -> None:
    times = np.arange(0, 20 * BLINK_EVERY_S, 0.01)
    shut = np.array([blink(0, 4, t) for t in times])
    starts = ((shut[1:] > 0.5) & (shut[:-1] <= 0.5)).sum()
    assert starts == 20 and shut.max() > 0.98
    assert (shut == 0).mean() > 0.8


def test_a_film_is_smooth_and_plausible() -> None:
    step_s = 1 / CONFIG.frame_rate_hz
    views = film(200, step_s)
    names = builtin_head().expression_names
    head_max = math.radians(CONFIG.head_turn_max_deg)
    assert (views.jaw[:, 0] >= -1e-6).all() and views.jaw[:, 0].max() <= MAX_JAW_RAD
    assert (views.eyes[:, :2].abs().amax(0) <= torch.tensor(MAX_GAZE_RAD) + 1e-6).all()
    assert (views.rotation.abs().amax(0) <= torch.tensor(HEAD_SHARES) * head_max + 1e-6).all()
    lids = views.expr[:, [i for i, name in enumerate(names) if name.startswith("blink")]]
    assert lids.min() >= 0 and lids.max() <= 1 and torch.equal(lids[:, 0], lids[:, 1])
    speed = {name: getattr(views, name).diff(dim=0).abs().amax(0) / step_s for name in ("jaw", "rotation", "eyes")}
    assert speed["jaw"][0] <= MAX_JAW_RAD * EXPRESSION.peak_speed_per_s
    assert (speed["rotation"] <= 2 * torch.tensor(HEAD_SHARES) * head_max * HEAD.peak_speed_per_s).all()
    assert (speed["eyes"][:2] <= 2 * torch.tensor(MAX_GAZE_RAD) * GAZE.peak_speed_per_s).all()
    assert views.expr.std(0).max() > 0.2 and views.rotation.std(0)[1] > 0.03, "it is a film and not a still"


def test_halving_the_step_halves_the_change() -> None:
    """A jump would stay as large however short the step."""
    coarse, fine = film(40, 0.04, 2), film(400, 0.004, 2)
    for name in ("expr", "jaw", "eyes", "rotation"):
        largest = getattr(coarse, name).diff(dim=0).abs().max().item()
        assert getattr(fine, name).diff(dim=0).abs().max().item() < 0.35 * largest, name


@given(frames=st.permutations(range(12)))
@settings(max_examples=5, deadline=None)
def test_a_frame_does_not_depend_on_the_order(frames: list[int]) -> None:
    again = {frame: at(frame / 25, 7) for frame in frames}
    for frame in (0, 11):
        expected = at(frame / 25, 7)
        assert all(
            torch.equal(a, b) for a, b in zip(again[frame].tensors().values(), expected.tensors().values(), strict=True)
        )


def test_a_frame_depends_on_seed_subject_and_time_and_not_on_the_frame_rate() -> None:
    assert torch.equal(at(0.4).expr, at(0.4, config=dataclasses.replace(CONFIG, frame_rate_hz=50.0)).expr)
    for other in (at(0.8), at(0.4, 1), at(0.4, config=dataclasses.replace(CONFIG, seed=1))):
        assert not torch.equal(other.expr, at(0.4).expr)


def test_no_strength_keeps_the_face_at_rest() -> None:
    still = at(1.3, config=dataclasses.replace(CONFIG, expression_strength=0.0, head_turn_max_deg=0.0))
    for name in ("expr", "jaw", "eyes", "rotation"):
        assert not getattr(still, name).any(), name
