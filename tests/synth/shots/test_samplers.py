"""Splits, cameras and expressions as functions of (seed, item)."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from headforge.flame.builtin.head import builtin_head
from headforge.flame.model import HeadModel
from headforge.geometry.cameras import yaw_pitch_deg
from headforge.synth.config import SynthesizeConfig
from headforge.synth.shots.samplers import split_of, view_angles, view_camera, view_params
from headforge.types import HeadParams
from tests.heads import tiny_head

CONFIG = SynthesizeConfig()


@given(seed=st.integers(0, 2**31), block=st.integers(0, 1000), every=st.integers(2, 12))
@settings(max_examples=60, deadline=None)
def test_each_block_has_exactly_one_test_subject(seed: int, block: int, every: int) -> None:
    splits = [split_of(seed, block * every + i, every) for i in range(every)]
    assert splits.count("test") == 1
    assert splits.count("train") == every - 1


def test_splits_of_the_demo() -> None:
    splits = [split_of(0, subject, 6) for subject in range(240)]
    assert splits.count("test") == 40
    places = {s % 6 for s, split in enumerate(splits) if split == "test"}
    assert len(places) == 6, "the place in the block is drawn, not fixed"


@given(subject=st.integers(0, 10**6), view=st.integers(0, 200))
@settings(max_examples=80, deadline=None)
def test_angles_are_in_range(subject: int, view: int) -> None:
    yaw, pitch = view_angles(CONFIG, subject, view)
    if view < CONFIG.n_reference_views:
        assert abs(yaw) <= CONFIG.reference_yaw_max_deg and abs(pitch) <= CONFIG.reference_pitch_max_deg
    else:
        assert abs(yaw) <= CONFIG.yaw_max_deg and CONFIG.pitch_min_deg <= pitch <= CONFIG.pitch_max_deg


def test_angles_cover_the_range_evenly() -> None:
    angles = torch.tensor([view_angles(CONFIG, subject, view) for subject in range(40) for view in range(4, 24)])
    yaw, pitch = angles.T
    quarters = torch.histc(yaw, 4, -60, 60) / len(yaw)
    assert (quarters - 0.25).abs().max() < 0.03
    assert (torch.histc(pitch, 3, -30, 45) / len(pitch) - 1 / 3).abs().max() < 0.03


@pytest.mark.parametrize(("yaw", "pitch"), [(0.0, 0.0), (-57.0, 44.0), (33.0, -29.0)])
def test_the_camera_is_where_the_row_says(yaw: float, pitch: float) -> None:
    camera = view_camera(CONFIG, yaw, pitch, 128)
    found = yaw_pitch_deg(camera, torch.tensor([0.0, CONFIG.target_height_m, 0.0]))
    assert [x.item() for x in found] == pytest.approx([yaw, pitch], abs=1e-3)
    assert camera.K[0, 0].item() == pytest.approx(64 / math.tan(math.radians(CONFIG.fov_deg / 2)), rel=1e-5)
    assert (camera.width, camera.height) == (128, 128)


def _params(subject: int, view: int, head: HeadModel | None = None) -> HeadParams:
    head = head or builtin_head()
    return view_params(CONFIG, head, torch.zeros(head.n_shape), subject, view)


def test_expressions_depend_on_the_item_only() -> None:
    first = _params(3, 5)
    _params(4, 5)
    again = _params(3, 5)
    other = _params(3, 6)
    assert all(torch.equal(a, b) for a, b in zip(first.tensors().values(), again.tensors().values(), strict=True))
    assert not torch.equal(first.expr, other.expr)


def test_expressions_are_plausible() -> None:
    views = HeadParams.stack([_params(subject, view) for subject in range(8) for view in range(24)])
    names = builtin_head().expression_names
    assert (views.jaw[:, 0] >= 0).all() and views.jaw[:, 0].max() > 0.15
    assert (views.jaw[:, 0] == 0).float().mean() == pytest.approx(0.5, abs=0.12)
    blink = views.expr[:, names.index("blink_left")]
    assert blink.min() >= 0 and blink.max() <= 1
    assert 0.02 < (blink == 1).float().mean() < 0.2
    assert torch.equal(views.eyes[:, :3], views.eyes[:, 3:]), "both eyes look the same way"
    assert views.eyes.abs().max() < 0.4
    for name in ("rotation", "neck", "translation"):
        assert (getattr(views, name) == 0).all()


def test_any_head_model_can_be_sampled() -> None:
    head = dataclasses.replace(tiny_head(), expression_names=tuple("abcdef"))
    assert _params(0, 0, head).expr.shape == (head.n_expr,)
