"""Placing landmarks and the jaw line of a turned head."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from headforge.flame.builtin.head import builtin_head
from headforge.flame.landmarks import bin_yaw_deg, contour_bin, frontal_embedding, outline_points, vertex_embedding
from headforge.geometry.meshes import interpolate_on_faces


@pytest.mark.parametrize(("yaw", "index"), [(0, 0), (39, 39), (80, 39), (-1, 40), (-39, 78), (-90, 78), (10.4, 10)])
def test_contour_bin(yaw: float, index: int) -> None:
    assert contour_bin(yaw) == index


def test_bins_and_yaws_are_inverse() -> None:
    assert [contour_bin(bin_yaw_deg(i)) for i in range(79)] == list(range(79))


def test_frontal_embedding_takes_the_nearest_surface() -> None:
    square = np.array([[0, 0, 0.0], [1, 0, 0], [1, 1, 0], [0, 1, 0]])
    vertices = np.concatenate([square, square + np.array([0, 0, 1.0])])
    faces = np.array([[0, 1, 2], [0, 2, 3], [4, 5, 6], [4, 6, 7]])
    points = np.array([[0.75, 0.25], [0.2, 0.9]])
    ids, weights = frontal_embedding(vertices, faces, points)
    assert ids.tolist() == [2, 3]
    found = np.einsum("nk,nkc->nc", weights, vertices[faces[ids]])
    np.testing.assert_allclose(found, [[0.75, 0.25, 1], [0.2, 0.9, 1]])


def test_vertex_embedding() -> None:
    faces = np.array([[0, 1, 2], [2, 3, 0]])
    ids, weights = vertex_embedding(faces, np.array([3, 1]))
    assert ids.tolist() == [1, 0]
    assert weights.tolist() == [[0, 1, 0], [0, 1, 0]]


def test_outline_of_a_square() -> None:
    vertices = np.array([[1.0, 1, 0], [-1, 1, 0], [-1, -1, 0], [1, -1, 0]])
    edges = np.array([[0, 1], [1, 2], [2, 3], [3, 0]])
    ids, t = outline_points(vertices, edges, 0.0, np.zeros(3), np.array([0.0, math.pi / 2, -3 * math.pi / 4 + 0.1]))
    assert ids.tolist() == [3, 0, 2]
    np.testing.assert_allclose(t[:2], [0.5, 0.5])


@pytest.mark.parametrize("yaw", [-35, -15, 15, 35])
def test_the_far_jaw_line_lies_on_the_silhouette(yaw: int) -> None:
    """Seen from the side the points of the far half are at least as far out as the static ones."""
    head = builtin_head()
    rows = [0, contour_bin(yaw)]
    static, turned = (
        interpolate_on_faces(head.v_template, head.faces, head.contour_faces[r], head.contour_barycentrics[r])
        for r in rows
    )
    right = torch.tensor([math.cos(math.radians(yaw)), 0.0, -math.sin(math.radians(yaw))])
    far = slice(0, 6) if yaw > 0 else slice(11, 17)
    near = slice(9, 17) if yaw > 0 else slice(0, 8)
    out = (turned - static) @ right * (-1 if yaw > 0 else 1)
    assert (out[far] > -1e-4).all()
    assert out[far].max() > 1e-3
    assert torch.equal(static[near], turned[near])
