"""What the numbers of views mean for each sampler."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from headforge.flame.builtin.head import builtin_head
from headforge.flame.model import pose_head
from headforge.geometry.cameras import project, yaw_pitch_deg
from headforge.geometry.seeding import item_seed
from headforge.synth.config import SAMPLERS, SynthesizeConfig
from headforge.synth.shots.poses import at_rest
from headforge.synth.shots.rigs import RIGS
from headforge.synth.shots.samplers import arc_angles, orbit_angles, view_angles, view_camera
from headforge.synth.shots.shots import ANGLES, n_fixed_cameras, shot_params, view_shot
from headforge.types import HeadParams
from tests.heads import tiny_head

TARGET = torch.tensor([0.0, SynthesizeConfig().target_height_m, 0.0])


@given(subject=st.integers(0, 10**6), view=st.integers(0, 200))
@settings(max_examples=40, deadline=None)
def test_the_default_is_the_published_ranges(subject: int, view: int) -> None:
    config = SynthesizeConfig()
    shot = view_shot(config, subject, view)
    yaw_deg, pitch_deg = view_angles(config, subject, view)
    assert (shot.yaw_deg, shot.pitch_deg, shot.camera_id, shot.timestep) == (yaw_deg, pitch_deg, None, None)
    assert torch.equal(shot.camera.viewmat, view_camera(config, yaw_deg, pitch_deg, 128).viewmat)


@given(subject=st.integers(0, 10**6), n=st.integers(1, 120))
@settings(max_examples=60, deadline=None)
def test_an_orbit_is_one_full_turn_in_even_steps(subject: int, n: int) -> None:
    config = SynthesizeConfig(sampler="orbit", views_per_subject=n)
    angles = [orbit_angles(config, subject, index, n) for index in range(n)]
    yaw = torch.tensor([a for a, _ in angles], dtype=torch.float64)
    assert yaw[0] == 0 and (yaw >= -180).all() and (yaw < 180).all()
    steps = torch.cat([yaw, yaw[:1]]).diff() % 360
    assert torch.allclose(steps, torch.full_like(steps, 360 / n) % 360, atol=1e-9) and len({p for _, p in angles}) == 1
    assert config.pitch_min_deg <= angles[0][1] <= config.pitch_max_deg


@given(subject=st.integers(0, 10**6), n=st.integers(1, 60))
@settings(max_examples=60, deadline=None)
def test_an_arc_goes_from_one_side_to_the_other(subject: int, n: int) -> None:
    config = SynthesizeConfig(sampler="frontal_arc", yaw_max_deg=40.0)
    angles = [arc_angles(config, subject, index, n) for index in range(n)]
    yaw = torch.tensor([a for a, _ in angles], dtype=torch.float64)
    assert torch.allclose(yaw, -yaw.flip(0), atol=1e-9) and len({p for _, p in angles}) == 1
    assert n == 1 or (yaw[0] == -40 and yaw[-1] == 40 and torch.allclose(yaw.diff(), yaw.diff()[:1], atol=1e-9))
    assert abs(angles[0][1]) <= config.reference_pitch_max_deg


def test_settings_name_every_sampler() -> None:
    assert (*ANGLES, *RIGS) == SAMPLERS


@pytest.mark.parametrize("motion", ["stills", "sequence"])
@pytest.mark.parametrize("sampler", SAMPLERS)
def test_rows_say_where_the_camera_is_whatever_the_order(sampler: str, motion: str) -> None:
    config = SynthesizeConfig(sampler=sampler, motion=motion, views_per_subject=24, sequence_cameras=3)
    shots = [view_shot(config, 5, view) for view in range(24)]
    backwards = [view_shot(config, 5, view) for view in reversed(range(24))][::-1]
    for shot, again in zip(shots, backwards, strict=True):
        assert torch.equal(shot.camera.viewmat, again.camera.viewmat) and torch.equal(shot.camera.K, again.camera.K)
        found = yaw_pitch_deg(shot.camera, TARGET)
        turn = (found[0].item() - shot.yaw_deg + 180) % 360 - 180
        assert turn == pytest.approx(0, abs=1e-3) and found[1].item() == pytest.approx(shot.pitch_deg, abs=1e-3)


@pytest.mark.parametrize(
    ("sampler", "motion", "n"),
    [("nersemble_like", "stills", 16), ("mead_like", "sequence", 7), ("orbit", "sequence", 3)],
)
def test_fixed_cameras_share_moments(sampler: str, motion: str, n: int) -> None:
    config = SynthesizeConfig(sampler=sampler, motion=motion, sequence_cameras=3)
    assert n_fixed_cameras(config) == n
    head, shape = builtin_head(), torch.zeros(builtin_head().n_shape)
    shots = [view_shot(config, 0, view) for view in range(3 * n)]
    assert [shot.timestep for shot in shots] == [view // n for view in range(3 * n)]
    names = [shot.camera_id for shot in shots]
    assert names[:n] == names[n : 2 * n] and len(set(names)) == n
    params = [shot_params(config, head, shape, shots[view]) for view in (0, n - 1, n)]
    assert torch.equal(params[0].expr, params[1].expr) and not torch.equal(params[0].expr, params[2].expr)


def test_one_camera_of_a_sequence_is_near_the_front() -> None:
    config = SynthesizeConfig(motion="sequence", views_per_subject=5)
    shots = [view_shot(config, 3, view) for view in range(5)]
    assert {shot.camera_id for shot in shots} == {"camera_00"}
    assert abs(shots[0].yaw_deg) <= config.reference_yaw_max_deg


@pytest.mark.parametrize("seed", range(4))
def test_a_turned_head_is_a_turned_camera(seed: int) -> None:
    head = tiny_head()
    generator = torch.Generator().manual_seed(item_seed(seed, "pose"))
    params = head.neutral().replace(
        shape=torch.randn(head.n_shape, generator=generator),
        expr=0.3 * torch.randn(head.n_expr, generator=generator),
        rotation=0.5 * torch.randn(3, generator=generator),
        translation=0.02 * torch.randn(3, generator=generator),
        jaw=torch.tensor([0.2, 0.0, 0.0]),
    )
    camera = view_camera(SynthesizeConfig(), 30.0, 10.0, 128)
    resting, moved = at_rest(head, params, camera)
    assert not resting.rotation.any() and not resting.translation.any() and torch.equal(resting.jaw, params.jaw)
    exact, found = (
        project(c, pose_head(head, HeadParams(p.model_id, **{k: v[None] for k, v in p.tensors().items()}))[0])
        for p, c in ((params, camera), (resting, moved))
    )
    torch.testing.assert_close(found[0], exact[0], atol=2e-3, rtol=0)
    torch.testing.assert_close(found[1], exact[1], atol=1e-5, rtol=0)


def test_a_resting_head_keeps_its_camera() -> None:
    camera = view_camera(SynthesizeConfig(), 30.0, 10.0, 128)
    params = tiny_head().neutral()
    assert at_rest(tiny_head(), params, camera) == (params, camera)
