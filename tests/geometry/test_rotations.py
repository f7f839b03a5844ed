from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from torch.autograd import gradcheck

from headforge.geometry.rotations import (
    axis_angle_to_matrix,
    matrix_to_axis_angle,
    matrix_to_quat,
    quat_multiply,
    quat_to_matrix,
    skew,
)
from tests.geometry.strategies import axis_angles, vectors

EYE = torch.eye(3, dtype=torch.float64)


@given(vectors(3, 10), vectors(3, 10))
def test_skew_is_the_cross_product(a: torch.Tensor, b: torch.Tensor) -> None:
    torch.testing.assert_close(skew(a) @ b, torch.linalg.cross(a, b))


@given(axis_angles())
def test_axis_angle_gives_a_rotation_about_its_axis(v: torch.Tensor) -> None:
    R = axis_angle_to_matrix(v)
    torch.testing.assert_close(R @ R.T, EYE, atol=1e-9, rtol=0)
    assert abs(float(torch.linalg.det(R)) - 1) < 1e-9
    torch.testing.assert_close(R @ v, v, atol=1e-9, rtol=0)
    torch.testing.assert_close(R, torch.matrix_exp(skew(v)), atol=1e-9, rtol=0)


@given(axis_angles())
def test_axis_angle_survives_matrix_and_quaternion(v: torch.Tensor) -> None:
    R = axis_angle_to_matrix(v)
    torch.testing.assert_close(matrix_to_axis_angle(R), v, atol=2e-6, rtol=0)
    torch.testing.assert_close(quat_to_matrix(matrix_to_quat(R)), R, atol=1e-9, rtol=0)


def test_a_quarter_turn_about_y_takes_z_to_x() -> None:
    R = axis_angle_to_matrix(torch.tensor([0.0, math.pi / 2, 0.0]))
    torch.testing.assert_close(R @ torch.tensor([0.0, 0.0, 1.0]), torch.tensor([1.0, 0.0, 0.0]), atol=1e-6, rtol=0)
    torch.testing.assert_close(matrix_to_quat(R), torch.tensor([0.5**0.5, 0, 0.5**0.5, 0]), atol=1e-6, rtol=0)


@pytest.mark.parametrize("axis", range(3))
def test_half_turns_keep_their_axis(axis: int) -> None:
    v = math.pi * EYE[axis]
    found = matrix_to_axis_angle(axis_angle_to_matrix(v))
    torch.testing.assert_close(found.abs(), v, atol=1e-6, rtol=0)


@given(axis_angles(), axis_angles())
def test_quaternion_product_is_the_matrix_product(a: torch.Tensor, b: torch.Tensor) -> None:
    A, B = axis_angle_to_matrix(a), axis_angle_to_matrix(b)
    product = quat_multiply(matrix_to_quat(A), matrix_to_quat(B))
    torch.testing.assert_close(quat_to_matrix(product), A @ B, atol=1e-9, rtol=0)


@pytest.mark.parametrize("scale", [0.0, 1e-8, 9e-4, 1.1e-3, 1.0])
def test_values_and_gradients_are_right_at_and_near_zero(scale: float) -> None:
    v = (torch.tensor([0.6, -0.64, 0.48], dtype=torch.float64) * scale).requires_grad_()
    assert gradcheck(axis_angle_to_matrix, (v,), eps=1e-6, atol=1e-6)
    torch.testing.assert_close(axis_angle_to_matrix(v), torch.matrix_exp(skew(v)), atol=1e-13, rtol=0)


def test_batches_of_any_shape() -> None:
    v = torch.randn(2, 4, 3, generator=torch.Generator().manual_seed(0))
    R = axis_angle_to_matrix(v)
    assert R.shape == (2, 4, 3, 3)
    torch.testing.assert_close(matrix_to_quat(R)[1, 2], matrix_to_quat(R[1, 2]))
    torch.testing.assert_close(axis_angle_to_matrix(v[1, 2]), R[1, 2])
