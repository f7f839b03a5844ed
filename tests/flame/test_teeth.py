"""The teeth appended to FLAME."""

from __future__ import annotations

import dataclasses

import numpy as np
import torch

from headforge.flame.builtin.head import builtin_head
from headforge.flame.model import pose_head
from headforge.flame.readers.official import append_teeth
from headforge.flame.teeth import (
    LOWER_LIP_RING,
    LOWER_ROWS,
    N_VERTICES,
    UPPER_LIP_RING,
    UPPER_ROWS,
    row_vertices,
    teeth_faces,
    teeth_uvs,
    teeth_vertices,
)


def lip_rings() -> tuple[np.ndarray, np.ndarray]:
    """Two arcs 7.5 mm apart, from the subject's left (+x) to the right."""
    angle = np.linspace(1.0, -1.0, 15)
    arc = np.stack([0.03 * np.sin(angle), 0 * angle, 0.03 * np.cos(angle) + 0.08], axis=-1)
    half_gap = np.array([0, 0.00375, 0])
    return arc + half_gap, arc - half_gap


def test_sizes_are_those_of_vhap() -> None:
    assert teeth_vertices(*lip_rings()).shape == (N_VERTICES, 3) == (120, 3)
    assert teeth_faces().shape == (168, 3)
    assert teeth_uvs().shape == (120, 2) and teeth_uvs().min() > 0 and teeth_uvs().max() < 1
    assert sorted(np.concatenate([row_vertices(UPPER_ROWS), row_vertices(LOWER_ROWS)]).tolist()) == list(range(120))


def test_places_behind_the_lips() -> None:
    upper, lower = lip_rings()
    rows = teeth_vertices(upper, lower).reshape(8, 15, 3)
    d = 0.0075
    np.testing.assert_allclose(rows[2] - (upper + lower) / 2, np.tile([0, 0.1 * d, -1.5 * d], (15, 1)), atol=1e-12)
    np.testing.assert_allclose(rows[3] - (upper + lower) / 2, np.tile([0, -0.1 * d, -1.9 * d], (15, 1)), atol=1e-12)
    np.testing.assert_allclose(rows[0] - rows[2], np.tile([0, 2 * d, 0], (15, 1)), atol=1e-12)
    np.testing.assert_allclose(rows[1] - rows[3], np.tile([0, -2 * d, 0], (15, 1)), atol=1e-12)
    for back, front in ((4, 0), (5, 2), (6, 1), (7, 3)):
        np.testing.assert_allclose(rows[back] - rows[front], np.tile([0, 0, -d], (15, 1)), atol=1e-12)


def test_triangles_face_outwards_and_none_is_missing() -> None:
    v, faces = teeth_vertices(*lip_rings()), teeth_faces()
    normals = np.cross(v[faces[:, 1]] - v[faces[:, 0]], v[faces[:, 2]] - v[faces[:, 0]])
    for start, axis, sign in ((0, 2, 1), (28, 2, -1), (56, 1, -1), (84, 2, 1), (112, 2, -1), (140, 1, 1)):
        assert (sign * normals[start : start + 28, axis] > 0).all(), start
    assert len({frozenset(face) for face in faces.tolist()}) == 168
    assert set(faces.ravel().tolist()) == set(range(120))


def test_diagonals_mirror_about_the_middle() -> None:
    mirror = np.arange(120).reshape(8, 15)[:, ::-1].ravel()
    faces = {frozenset(face) for face in teeth_faces().tolist()}
    assert faces == {frozenset(mirror[face].tolist()) for face in teeth_faces()}


def test_first_triangles_are_vhaps() -> None:
    """Files bound to VHAP's triangles depend on their order and on their first corner."""
    faces = teeth_faces()
    assert faces[[0, 1, 14, 27]].tolist() == [[0, 31, 30], [0, 1, 31], [7, 8, 37], [14, 44, 43]]
    assert faces[[28, 29, 42, 43]].tolist() == [[60, 75, 76], [60, 76, 61], [67, 82, 68], [68, 82, 83]]
    assert faces[[56, 57, 70, 71]].tolist() == [[75, 30, 76], [76, 30, 31], [82, 37, 38], [82, 38, 83]]
    assert faces[[84, 85, 98, 99]].tolist() == [[45, 46, 15], [46, 16, 15], [52, 23, 22], [52, 53, 23]]
    assert faces[[112, 113, 126, 127]].tolist() == [[90, 106, 105], [90, 91, 106], [97, 98, 112], [98, 113, 112]]
    assert faces[[140, 141, 154, 155]].tolist() == [[105, 106, 45], [106, 46, 45], [112, 53, 52], [112, 113, 53]]


def test_appended_teeth_follow_neck_and_jaw() -> None:
    """On the builtin head the rings are any vertices: only the bookkeeping is looked at."""
    head = builtin_head()
    model = append_teeth(dataclasses.replace(head, eyelids=torch.ones(head.n_vertices, 3, 2)))
    n = head.n_vertices
    assert (model.n_vertices, len(model.faces), len(model.uv_faces)) == (
        n + 120,
        len(head.faces) + 168,
        len(model.faces),
    )
    assert torch.equal(model.faces[: len(head.faces)], head.faces)
    assert len(model.faces_of("teeth")) == 168
    assert model.uv_faces.max() == len(model.uvs) - 1
    lips = head.shapedirs[[UPPER_LIP_RING[3], LOWER_LIP_RING[3]], :, : head.n_shape].mean(0)
    torch.testing.assert_close(model.shapedirs[n + 45 + 3, :, : head.n_shape], lips)
    assert (model.shapedirs[n:, :, head.n_shape :] == 0).all() and (model.eyelids[n:] == 0).all()
    still = model.neutral((1,))
    rest = pose_head(model, still)[0]
    moved = (pose_head(model, still.replace(jaw=torch.tensor([[0.3, 0, 0]])))[0] - rest).norm(dim=-1)
    assert (moved[model.regions["upper_teeth"]] < 1e-6).all() and (moved[model.regions["lower_teeth"]] > 1e-3).all()
    moved = (pose_head(model, still.replace(neck=torch.tensor([[0.3, 0, 0]])))[0] - rest).norm(dim=-1)
    assert (moved[model.regions["teeth"]] > 1e-3).all()
    torch.testing.assert_close(rest[:n], head.v_template)
