"""The viewer's packing: what is quantised, by how much, and that the motion is the rig's."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import pytest
import torch

from headforge.avatar.rig import RiggedGaussians
from headforge.errors import DataError
from headforge.flame.model import HeadModel
from headforge.geometry.rotations import quat_to_matrix
from headforge.report import viewer
from headforge.report.viewer import UnpackedAvatar, Viewpoint
from headforge.report.viewer_controls import (
    HEAD_CONTROLS,
    Control,
    chosen_expressions,
    controls_for,
    rest_params,
    with_control,
)
from headforge.types import HeadParams
from tests.heads import tiny_head
from tests.report.fabricated import rigged_avatar

VIEWPOINT = Viewpoint(1.0, 21.5, 128)


@pytest.fixture(scope="module")
def head() -> HeadModel:
    """The test head."""
    return tiny_head()


@pytest.fixture(scope="module")
def rigged(head: HeadModel) -> RiggedGaussians:
    """An avatar of it."""
    return rigged_avatar(head)


@pytest.fixture(scope="module")
def own(head: HeadModel) -> HeadParams:
    """A subject with an identity, an expression, an open jaw, a turned head and a place."""
    generator = torch.Generator().manual_seed(3)
    return head.neutral().replace(
        shape=0.5 * torch.randn(head.n_shape, generator=generator),
        expr=torch.randn(head.n_expr, generator=generator),
        jaw=torch.tensor([0.15, 0.0, 0.0]),
        neck=torch.tensor([0.0, 0.3, 0.0]),
        translation=torch.tensor([0.02, -0.01, 0.1]),
    )


def unpacked(rigged: RiggedGaussians, head: HeadModel, own: HeadParams, controls: Sequence[Control]) -> UnpackedAvatar:
    packed = viewer.pack_avatar(rigged, head, own, VIEWPOINT, controls)
    return viewer.unpack_avatar(packed.meta, packed.payload)


def test_round_trip_stays_within_half_a_step(rigged: RiggedGaussians, head: HeadModel, own: HeadParams) -> None:
    found = unpacked(rigged, head, own, controls_for(head, own))
    cloud = rigged.posed(head, rest_params(own))
    extent = (cloud.means.amax(0) - cloud.means.amin(0)).numpy()
    assert (np.abs(found.means - cloud.means.numpy()) <= 0.51 * extent / 65535 + 1e-7).all()
    logs = cloud.scales.log().numpy()
    assert np.abs(np.log(found.scales) - logs).max() <= 0.51 * (logs.max() - logs.min()) / 255
    assert np.abs(found.colors - cloud.colors.clamp(0, 1).numpy()).max() <= 0.51 / 255
    assert np.abs(found.opacities - cloud.opacities.numpy()).max() <= 0.51 / 255
    turned = quat_to_matrix(torch.from_numpy(found.quats)) @ quat_to_matrix(cloud.quats).transpose(-1, -2)
    angle = torch.arccos(((turned.diagonal(dim1=-2, dim2=-1).sum(-1) - 1) / 2).clamp(-1, 1))
    assert float(angle.max()) < 0.02


def test_every_control_at_its_end_is_the_rig(rigged: RiggedGaussians, head: HeadModel, own: HeadParams) -> None:
    controls = controls_for(head, own)
    found = unpacked(rigged, head, own, controls)
    rest = rest_params(own)
    for index, control in enumerate(controls):
        values = [float(i == index) for i in range(len(controls))]
        exact = rigged.posed(head, with_control(rest, control, 1.0)).means.numpy()
        moved = np.linalg.norm(exact - rigged.posed(head, rest).means.numpy(), axis=1).max()
        error = np.linalg.norm(found.posed_means(values) - exact, axis=1).max()
        assert error < 1e-4, (control.label, error)
        assert error < 0.05 * moved or moved < 1e-4, (control.label, error, moved)


@pytest.mark.parametrize("value", [-1.0, -0.4, 0.5])
def test_turning_is_exact_in_between(rigged: RiggedGaussians, head: HeadModel, own: HeadParams, value: float) -> None:
    turn = HEAD_CONTROLS[0]
    found = unpacked(rigged, head, own, [turn])
    exact = rigged.posed(head, with_control(rest_params(own), turn, value)).means.numpy()
    assert np.linalg.norm(found.posed_means([value]) - exact, axis=1).max() < 2e-5


def test_the_own_expression_is_the_subjects(rigged: RiggedGaussians, head: HeadModel, own: HeadParams) -> None:
    first = controls_for(head, own)[0]
    assert first.initial == 1.0
    posed = with_control(rest_params(own), first, 1.0)
    assert torch.allclose(posed.expr, own.expr, atol=1e-3)
    assert torch.allclose(posed.jaw, own.jaw)
    assert not posed.neck.any()
    assert not posed.translation.any()


def test_two_controls_add_up(rigged: RiggedGaussians, head: HeadModel, own: HeadParams) -> None:
    turn, smile = HEAD_CONTROLS[0], Control("Smile", expr={1: 1.0})
    found = unpacked(rigged, head, own, [turn, smile])
    both = with_control(with_control(rest_params(own), turn, 0.7), smile, 1.0)
    exact = rigged.posed(head, both).means.numpy()
    assert np.linalg.norm(found.posed_means([0.7, 1.0]) - exact, axis=1).max() < 1e-4


def test_a_named_pair_shares_a_slider() -> None:
    names = ("jaw_left", "blink_left", "blink_right", "smile", "mouth_left")
    chosen = chosen_expressions(names, n_expr=6, limit=4)
    assert chosen == [("Smile", (3,)), ("Blink", (1, 2)), ("Jaw left", (0,)), ("Mouth left", (4,))]


def test_the_limit_keeps_the_most_visible(head: HeadModel, rigged: RiggedGaussians, own: HeadParams) -> None:
    faint = dataclasses.replace(rigged, opacity_logits=rigged.opacity_logits.clone())
    faint.opacity_logits[:500] = -9
    packed = viewer.pack_avatar(faint, head, own, VIEWPOINT, [], max_gaussians=len(rigged) - 500)
    assert packed.n_left_out == 500
    found = viewer.unpack_avatar(packed.meta, packed.payload)
    assert found.opacities.min() > 0


def test_weights_stay_whole_numbers_that_sum_to_255() -> None:
    weights = torch.tensor([[0.0, 0.5, 0.5, 0.0, 0.0], [1.0, 0.0, 0.0, 0.0, 0.0], [0.2, 0.2, 0.2, 0.2, 0.2]])
    found = viewer.quantised_weights(weights)
    assert (found.sum(1) == 255).all()
    assert (found >= 0).all()
    assert torch.allclose(found / 255, weights, atol=1.01 / 255)


def test_packing_is_deterministic(rigged: RiggedGaussians, head: HeadModel, own: HeadParams) -> None:
    controls = controls_for(head, own)
    first, second = (viewer.pack_avatar(rigged, head, own, VIEWPOINT, controls) for _ in range(2))
    assert first.payload == second.payload
    assert first.meta == second.meta


def test_another_format_is_refused(rigged: RiggedGaussians, head: HeadModel, own: HeadParams) -> None:
    packed = viewer.pack_avatar(rigged, head, own, VIEWPOINT, [])
    with pytest.raises(DataError, match="expected 1 and"):
        viewer.unpack_avatar({**packed.meta, "format": 2}, packed.payload)
    with pytest.raises(DataError, match="bytes"):
        viewer.unpack_avatar({**packed.meta, "n": 3}, packed.payload)
