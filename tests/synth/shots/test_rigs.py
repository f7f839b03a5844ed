"""Rigs: where their cameras stand and what differs between them."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
import torch

from headforge.geometry.cameras import yaw_pitch_deg
from headforge.synth.config import SynthesizeConfig
from headforge.synth.shots.rigs import RIGS, rig_camera
from headforge.synth.shots.shots import view_shot

TARGET = torch.tensor([0.0, SynthesizeConfig().target_height_m, 0.0])


def test_the_16_cameras_span_what_the_published_rig_spans() -> None:
    rig = RIGS["nersemble_like"]
    yaw, pitch = np.array([(c.yaw_deg, c.pitch_deg) for c in rig]).T
    assert len(rig) == len({c.name for c in rig}) == len({(c.yaw_deg, c.pitch_deg) for c in rig}) == 16
    assert np.ptp(yaw) == pytest.approx(93) and np.ptp(pitch) == pytest.approx(32)
    assert sorted(yaw) == pytest.approx(sorted(-yaw)), "as many to the left as to the right"


def test_the_7_cameras_stand_at_the_published_angles() -> None:
    rig = {c.name: (c.yaw_deg, c.pitch_deg) for c in RIGS["mead_like"]}
    assert len(rig) == 7 and rig["front"] == (0, 0)
    assert {rig[f"{side}_{angle}"][0] for side in ("left", "right") for angle in (30, 60)} == {30, 60, -30, -60}
    assert rig["left_30"][0] > 0, "left is the subject's"
    assert rig["top"][1] > 0 > rig["down"][1]


@pytest.mark.parametrize("name", RIGS)
def test_the_first_cameras_are_the_most_frontal(name: str) -> None:
    off_axis = [math.hypot(c.yaw_deg, c.pitch_deg) for c in RIGS[name]]
    assert off_axis == sorted(off_axis) and off_axis[0] == 0


@pytest.mark.parametrize("name", RIGS)
def test_cameras_stand_where_the_rig_says_with_intrinsics_of_their_own(name: str) -> None:
    config = SynthesizeConfig(sampler=name, image_size=256)
    cameras = [rig_camera(config, place, 256) for place in RIGS[name]]
    nominal = 128 / math.tan(math.radians(config.fov_deg / 2))
    for place, camera in zip(RIGS[name], cameras, strict=True):
        assert [x.item() for x in yaw_pitch_deg(camera, TARGET)] == pytest.approx(
            [place.yaw_deg, place.pitch_deg], abs=1e-3
        )
        assert (camera.centre - TARGET).norm().item() == pytest.approx(config.distance_m, rel=1e-5)
        most = config.rig_deviation
        assert camera.K[0, 0] == camera.K[1, 1] and abs(camera.K[0, 0].item() / nominal - 1) <= most + 1e-6
        assert (camera.K[:2, 2] / 256 - 0.5).abs().max() <= most + 1e-6
    for entry in ((0, 0), (0, 2), (1, 2)):
        assert len({camera.K[entry].item() for camera in cameras}) == len(cameras)


def test_without_deviation_all_cameras_are_the_nominal_one() -> None:
    config = SynthesizeConfig(sampler="mead_like", rig_deviation=0.0)
    first, *others = (rig_camera(config, place, 128).K for place in RIGS["mead_like"])
    assert first[0, 2] == first[1, 2] == 64
    assert all(torch.equal(first, K) for K in others)


def test_a_rig_is_the_same_for_everyone_and_at_any_size() -> None:
    config = SynthesizeConfig(sampler="nersemble_like", views_per_subject=32)
    for view in (0, 5, 15):
        shots = [view_shot(config, subject, view + 16 * moment) for subject in (0, 9) for moment in (0, 1)]
        assert all(torch.equal(shot.camera.K, shots[0].camera.K) for shot in shots)
        assert all(torch.equal(shot.camera.viewmat, shots[0].camera.viewmat) for shot in shots)
        assert [shot.timestep for shot in shots] == [0, 1, 0, 1]
        large = view_shot(dataclasses.replace(config, image_size=512), 0, view).camera
        assert torch.allclose(shots[0].camera.resized(512, 512).K, large.K, rtol=1e-5)
