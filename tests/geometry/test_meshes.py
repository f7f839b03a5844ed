from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from headforge.geometry.meshes import (
    face_normals,
    interpolate_on_faces,
    similarity_alignment,
    triangle_frames,
    vertex_normals,
)
from headforge.geometry.rotations import axis_angle_to_matrix
from tests.geometry.strategies import axis_angles, vectors
from tests.heads import tiny_head

FACES = torch.tensor([[0, 1, 2], [1, 3, 2]])
POINTS = torch.tensor([[0, 0, 0], [1, 0, 0], [0, 1, 0], [1, 1, 0.5]], dtype=torch.float64)


def test_normals_point_outwards_from_the_test_head() -> None:
    head = tiny_head()
    centres = head.v_template[head.faces].mean(1)
    assert ((face_normals(head.v_template, head.faces) * centres).sum(-1) > 0).all()
    normals = vertex_normals(head.v_template, head.faces)
    assert ((normals * head.v_template).sum(-1) > 0).all()
    torch.testing.assert_close(normals.norm(dim=-1), torch.ones(head.n_vertices))


def test_a_counter_clockwise_triangle_faces_the_viewer() -> None:
    assert face_normals(POINTS, FACES)[0].tolist() == [0, 0, 1]


def test_vertex_normals_weigh_faces_by_area() -> None:
    vertices = torch.tensor([[0, 0, 0], [2, 0, 0], [0, 2, 0], [0, 0, 1.0]])
    faces = torch.tensor([[0, 1, 2], [0, 3, 1]])
    expected = torch.nn.functional.normalize(torch.tensor([0, 2.0, 4.0]), dim=0)
    torch.testing.assert_close(vertex_normals(vertices, faces)[0], expected)


@given(axis_angles(), vectors(3, 1), st.floats(0.2, 5))
def test_triangle_frames_move_with_the_mesh(v: torch.Tensor, t: torch.Tensor, s: float) -> None:
    R = axis_angle_to_matrix(v)
    rotation, scale, centre = triangle_frames(POINTS, FACES)
    moved_rotation, moved_scale, moved_centre = triangle_frames(s * POINTS @ R.T + t, FACES)
    torch.testing.assert_close(moved_rotation, R @ rotation, atol=1e-9, rtol=0)
    torch.testing.assert_close(moved_scale, s * scale, atol=1e-9, rtol=0)
    torch.testing.assert_close(moved_centre, s * centre @ R.T + t, atol=1e-9, rtol=0)


def test_triangle_frames_are_rotations_with_edge_and_normal() -> None:
    rotation, scale, centre = triangle_frames(POINTS, FACES)
    torch.testing.assert_close(rotation @ rotation.mT, torch.eye(3, dtype=torch.float64).expand(2, 3, 3))
    assert (torch.linalg.det(rotation) > 0).all()
    torch.testing.assert_close(rotation[0, :, 0], POINTS[1] - POINTS[0])
    torch.testing.assert_close(rotation[..., 1], face_normals(POINTS, FACES))
    assert float(scale[0]) == pytest.approx(1.0)
    torch.testing.assert_close(centre[0], POINTS[:3].mean(0))


def test_interpolation_gives_corners_and_centres() -> None:
    ids = torch.tensor([0, 1, 1])
    weights = torch.tensor([[1, 0, 0], [0, 1, 0], [1 / 3, 1 / 3, 1 / 3]], dtype=torch.float64)
    found = interpolate_on_faces(POINTS, FACES, ids, weights)
    torch.testing.assert_close(found, torch.stack([POINTS[0], POINTS[3], POINTS[[1, 3, 2]].mean(0)]))


@given(axis_angles(), vectors(3, 2), st.floats(0.1, 10))
def test_similarity_alignment_finds_the_transform(v: torch.Tensor, t: torch.Tensor, s: float) -> None:
    source = torch.randn(12, 3, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    R = axis_angle_to_matrix(v)
    scale, rotation, translation = similarity_alignment(source, s * source @ R.T + t)
    torch.testing.assert_close(rotation, R, atol=1e-8, rtol=0)
    assert float(scale) == pytest.approx(s, rel=1e-8)
    torch.testing.assert_close(translation, t, atol=1e-7, rtol=0)


def test_similarity_alignment_never_mirrors() -> None:
    source = torch.randn(12, 3, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    _, rotation, _ = similarity_alignment(source, source * source.new_tensor([-1, 1, 1]))
    assert torch.linalg.det(rotation) > 0
