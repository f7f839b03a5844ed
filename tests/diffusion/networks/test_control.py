"""The Gaussian field and its control maps."""

from __future__ import annotations

import pytest
import torch

from headforge.diffusion.networks.control import SCALE_INIT_TEXELS, GaussianField
from headforge.errors import ShapeError
from headforge.flame.model import pose_head
from headforge.geometry.cameras import orbit_camera
from headforge.types import Camera
from tests.heads import tiny_head


def front_camera(size: int = 32, yaw_deg: float = 0.0) -> Camera:
    return orbit_camera(torch.tensor([yaw_deg]), 0.0, distance_m=0.9, focal_px=80.0, width=size, height=size)


def test_gaussians_lie_on_the_head() -> None:
    head = tiny_head()
    field = GaussianField.on_head(head, 16, 8, seed=0)
    means = field.means(pose_head(head, head.neutral((1,))))[0]
    assert means.shape == (len(field.features), 3)
    inside = (means / torch.tensor([0.075, 0.115, 0.095])).norm(dim=1)
    assert float(inside.min()) > 0.9 and float(inside.max()) < 1.001


def test_scales_follow_the_texel_spacing() -> None:
    coarse, fine = (GaussianField.on_head(tiny_head(), size, 8, seed=0) for size in (16, 32))
    ratio = coarse.log_scales.detach().exp().median() / fine.log_scales.detach().exp().median()
    assert float(ratio) == pytest.approx(2.0, rel=0.1)
    # The ellipsoid's mean circumference over the texels around it, times the initial factor.
    assert float(coarse.log_scales.detach().exp().median()) == pytest.approx(SCALE_INIT_TEXELS * 0.025, rel=0.35)


@torch.no_grad()
def test_control_maps_show_the_head_and_nothing_else() -> None:
    head = tiny_head()
    field = GaussianField.on_head(head, 24, 8, seed=0)
    control = field(field.means(pose_head(head, head.neutral((1,)))), front_camera())
    assert control.shape == (1, 9, 32, 32)
    assert float(control[0, 8, 16, 16]) > 0.95 and float(control[0, 8, 1, 1]) == 0
    assert float(control[:, :8].abs().max()) <= 1
    assert float(control[0, :8, 1, 1].abs().max()) == 0


@torch.no_grad()
def test_the_same_place_on_the_head_keeps_its_features_when_the_camera_moves() -> None:
    head = tiny_head()
    field = GaussianField.on_head(head, 24, 8, seed=0)
    means = field.means(pose_head(head, head.neutral((1,))))
    front, turned = field(means, front_camera()), field(means, front_camera(yaw_deg=30.0))
    # The chin-to-crown axis turns in place; the nose moves left in the picture by sin(30) * 0.095 m.
    place = 16 - round(80 / 0.9 * 0.095 * 0.5)
    slow = slice(0, 4)
    torch.testing.assert_close(front[0, slow, 16, 16], turned[0, slow, 16, place], atol=0.1, rtol=0)
    assert float((front[0, slow, 16, 16] - turned[0, slow, 16, 16]).abs().max()) > 0.2


def test_gradients_reach_every_learned_tensor() -> None:
    head = tiny_head()
    field = GaussianField.on_head(head, 12, 8, seed=0)
    control = field(field.means(pose_head(head, head.neutral((1,)))), front_camera())
    (control * torch.linspace(0, 1, control.numel()).reshape(control.shape)).sum().backward()
    for parameter in (field.features, field.opacity_logits, field.log_scales):
        assert parameter.grad is not None and float(parameter.grad.abs().sum()) > 0


def test_means_of_another_field_are_refused() -> None:
    field = GaussianField.on_head(tiny_head(), 12, 8, seed=0)
    with pytest.raises(ShapeError):
        field(torch.zeros(1, 3, 3), front_camera())
