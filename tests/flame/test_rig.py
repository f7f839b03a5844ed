"""Painting joints and weights onto a head without any."""

from __future__ import annotations

import numpy as np
import pytest

from headforge.flame import rig


def turned_about_x(points: np.ndarray, joint: np.ndarray, angle: float) -> np.ndarray:
    c, s = np.cos(angle), np.sin(angle)
    return (points - joint) @ np.array([[1.0, 0, 0], [0, c, -s], [0, s, c]]).T + joint


def test_hinge_is_found_from_a_turned_jaw() -> None:
    rng = np.random.default_rng(0)
    teeth = rng.uniform([-0.02, -0.05, 0.05], [0.02, -0.03, 0.1], (200, 3))
    joint = np.array([0.0, -0.006, 0.018])
    rotation, translation = rig.rigid_motion(teeth, turned_about_x(teeth, joint, 0.4))
    assert rig.angle_about_x(rotation) == pytest.approx(0.4)
    np.testing.assert_allclose(rig.hinge(0.4, translation), joint, atol=1e-9)


def test_jaw_weights_give_the_shape_back() -> None:
    """A shape that is w times the turn gets the weight w."""
    rng = np.random.default_rng(1)
    joint, angle = np.array([0.0, 0.0, 0.01]), 0.35
    points = rng.uniform(-0.1, 0.1, (500, 3)) + np.array([0, -0.05, 0.1])
    wanted = rng.uniform(0, 1, 500)
    displacement = wanted[:, None] * (turned_about_x(points, joint, angle) - points)
    far = np.linalg.norm(points[:, 1:] - joint[1:], axis=-1) > 0.05
    np.testing.assert_allclose(rig.jaw_weights(points, displacement, joint, angle)[far], wanted[far], atol=0.02)


def test_sphere_ignores_cornea_and_iris() -> None:
    rng = np.random.default_rng(2)
    direction = rng.normal(size=(800, 3))
    direction /= np.linalg.norm(direction, axis=-1, keepdims=True)
    centre = np.array([0.03, 0.04, 0.08])
    radius = np.full(800, 0.0158)
    radius[direction[:, 2] > 0.9] += 0.0012
    iris = centre + np.array([0, 0, 0.012]) + rng.normal(size=(300, 3)) * [0.003, 0.003, 0.0002]
    found, size = rig.sphere(np.concatenate([centre + radius[:, None] * direction, iris]))
    np.testing.assert_allclose(found, centre, atol=1e-4)
    assert size == pytest.approx(0.0158, abs=1e-4)


def test_regressor_row_gives_the_joint_and_sums_to_one() -> None:
    rng = np.random.default_rng(3)
    vertices, ids = rng.normal(size=(100, 3)), np.arange(10, 60)
    row = rig.regressor_row(vertices, ids, np.array([0.1, -0.2, 0.3]))
    assert row.sum() == pytest.approx(1) and (np.flatnonzero(row) >= 10).all() and (np.flatnonzero(row) < 60).all()
    np.testing.assert_allclose(row @ vertices, [0.1, -0.2, 0.3], atol=1e-12)
    moved = vertices + np.array([0.5, 0.25, -1])
    np.testing.assert_allclose(row @ moved, [0.6, 0.05, -0.7], atol=1e-12)


def test_weights_sum_to_one_and_end_at_the_root() -> None:
    vertices = np.stack([np.zeros(50), np.linspace(0.1, -0.2, 50), np.zeros(50)], axis=-1)
    root, neck = np.array([0, -0.12, 0.0]), np.array([0, -0.08, 0.0])
    weights = rig.skin_weights(vertices, np.full(50, 0.5), root, neck, {rig.LEFT_EYE: np.array([0, 1])})
    np.testing.assert_allclose(weights.sum(-1), 1)
    assert weights[-1].tolist() == [1, 0, 0, 0, 0]
    assert weights[5].tolist() == [0, 0.5, 0.5, 0, 0]
    assert weights[0].tolist() == [0, 0, 0, 1, 0]
