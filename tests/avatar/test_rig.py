"""Binding to triangles, rigid motion, files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from headforge.avatar.rig import (
    RiggedGaussians,
    bound_frames,
    concatenate,
    load_rigged,
    posed_vertices,
    rgb_to_dc,
    save_rigged,
    to_local,
)
from headforge.errors import DataError, ModelMismatchError
from headforge.geometry.meshes import triangle_frames
from headforge.geometry.rotations import axis_angle_to_matrix, matrix_to_quat, quat_to_matrix
from tests.avatar.scenes import moving_params, random_gaussians
from tests.heads import tiny_head

HEAD = tiny_head()
vectors = st.lists(st.floats(-2, 2), min_size=3, max_size=3)


def covariances(quats: torch.Tensor, scales: torch.Tensor) -> torch.Tensor:
    """[N, 3, 3]."""
    half = quat_to_matrix(quats) * scales[:, None]
    return half @ half.transpose(-1, -2)


def by_hand(vertices: np.ndarray, face: np.ndarray, rigged: RiggedGaussians, i: int) -> tuple[np.ndarray, np.ndarray]:
    """Mean and covariance of one Gaussian by GaussianAvatars' formulas, in float64."""
    v0, v1, v2 = vertices[face].astype(np.float64)
    a0 = (v1 - v0) / np.linalg.norm(v1 - v0)
    a1 = np.cross(a0, v2 - v0)
    a1 /= np.linalg.norm(a1)
    a2 = -np.cross(a1, a0)
    r = np.stack([a0, a1, a2], axis=1)
    s = (np.linalg.norm(v1 - v0) + abs(a2 @ (v2 - v0))) / 2
    w, x, y, z = (rigged.quats[i] / rigged.quats[i].norm()).double().numpy()
    local = np.array([
        [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
        [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
        [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
    ])  # fmt: skip
    axes = r @ local * (np.exp(rigged.log_scales[i].double().numpy()) * s)
    return s * r @ rigged.means[i].double().numpy() + (v0 + v1 + v2) / 3, axes @ axes.T


def test_binding_follows_the_formulas() -> None:
    rigged = random_gaussians(HEAD)
    params = moving_params(HEAD, 1)[0]
    vertices = posed_vertices(HEAD, params)
    cloud = rigged.posed(HEAD, params)
    found = covariances(cloud.quats, cloud.scales).numpy()
    for i in range(len(rigged)):
        mean, covariance = by_hand(vertices.numpy(), HEAD.faces[rigged.binding[i]].numpy(), rigged, i)
        np.testing.assert_allclose(cloud.means[i].numpy(), mean, atol=2e-6)
        np.testing.assert_allclose(found[i], covariance, atol=1e-5 * covariance.max())
    assert torch.allclose(cloud.opacities, rigged.opacity_logits.sigmoid())
    assert torch.allclose(cloud.colors, (rigged.sh[:, 0] * 0.28209479 + 0.5).clamp_min(0))


@settings(max_examples=20, deadline=None)
@given(vectors, vectors)
def test_moves_rigidly_with_the_mesh(axis_angle: list[float], shift: list[float]) -> None:
    rigged = random_gaussians(HEAD)
    rotation, translation = axis_angle_to_matrix(torch.tensor(axis_angle)), torch.tensor(shift)
    before = rigged.on_mesh(HEAD.v_template, HEAD.faces)
    after = rigged.on_mesh(HEAD.v_template @ rotation.T + translation, HEAD.faces)
    assert torch.allclose(after.means, before.means @ rotation.T + translation, atol=2e-5)
    turned = rotation @ covariances(before.quats, before.scales) @ rotation.T
    assert torch.allclose(covariances(after.quats, after.scales), turned, atol=1e-4 * float(turned.max()))
    assert torch.equal(after.colors, before.colors)


@settings(max_examples=20, deadline=None)
@given(st.floats(0.2, 5))
def test_grows_with_the_mesh(factor: float) -> None:
    rigged = random_gaussians(HEAD)
    before = rigged.on_mesh(HEAD.v_template, HEAD.faces)
    after = rigged.on_mesh(HEAD.v_template * factor, HEAD.faces)
    assert torch.allclose(after.means, before.means * factor, rtol=1e-4, atol=1e-5)
    assert torch.allclose(after.scales, before.scales * factor, rtol=1e-4)


def test_frames_per_triangle_are_those_per_gaussian() -> None:
    vertices = posed_vertices(HEAD, moving_params(HEAD, 1)[0])
    binding = torch.randint(len(HEAD.faces), (5000,), generator=torch.Generator().manual_seed(0))
    found = bound_frames(vertices, HEAD.faces, binding)
    rotation, scale, centre = triangle_frames(vertices, HEAD.faces[binding])
    assert torch.equal(found.rotation, rotation) and torch.equal(found.quat, matrix_to_quat(rotation))
    assert torch.equal(found.scale, scale) and torch.equal(found.centre, centre)


def test_local_coordinates_invert() -> None:
    rigged = random_gaussians(HEAD)
    frames = bound_frames(HEAD.v_template, HEAD.faces, rigged.binding)
    assert torch.allclose(to_local(rigged.in_frames(frames).means, frames), rigged.means, atol=1e-4)


def test_colour_depends_on_the_side_only_with_higher_harmonics() -> None:
    front, back = torch.tensor([0.0, 0, 2]), torch.tensor([0.0, 0, -2])
    for degree, differs in ((0, False), (1, True), (3, True)):
        rigged = random_gaussians(HEAD, sh_degree=degree)
        a, b = (rigged.posed(HEAD, HEAD.neutral(), eye).colors for eye in (front, back))
        assert torch.allclose(a, b) != differs


def test_dc_shows_the_colour() -> None:
    rgb = torch.rand(40, 3, generator=torch.Generator().manual_seed(0))
    rigged = random_gaussians(HEAD).replace(sh=rgb_to_dc(rgb)[:, None])
    assert torch.allclose(rigged.posed(HEAD, HEAD.neutral()).colors, rgb, atol=1e-6)


def test_gradients_reach_everything() -> None:
    rigged = random_gaussians(HEAD, sh_degree=1)
    leaves = {k: v.clone().requires_grad_() for k, v in rigged.tensors().items() if v.is_floating_point()}
    cloud = rigged.replace(**leaves).posed(HEAD, HEAD.neutral(), torch.tensor([0.0, 0, 1]))
    total = cloud.means.sum() + cloud.scales.sum() + cloud.opacities.sum() + cloud.colors.sum()
    (total + (cloud.quats * torch.arange(4)).sum()).backward()
    assert all(v.grad is not None and v.grad.abs().sum() > 0 for v in leaves.values())


def test_other_head_model_is_refused() -> None:
    rigged = random_gaussians(HEAD)
    other = RiggedGaussians("another", **rigged.tensors())
    with pytest.raises(ModelMismatchError):
        other.posed(HEAD, HEAD.neutral())


def test_file_round_trip_and_equal_bytes(tmp_path: Path) -> None:
    rigged, params = random_gaussians(HEAD, sh_degree=2), moving_params(HEAD, 1)[0]
    for name in ("a", "b"):
        save_rigged(rigged, tmp_path / name, params, {"z": 1, "a": [2]})
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    read, read_params = load_rigged(tmp_path / "a")
    assert read.model_id == HEAD.model_id
    assert all(torch.equal(value, read.tensors()[name]) for name, value in rigged.tensors().items())
    assert all(torch.equal(value, read_params.tensors()[name]) for name, value in params.tensors().items())


def test_other_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "avatar.safetensors"
    with pytest.raises(DataError):
        load_rigged(path)
    path.write_bytes(b"not an avatar at all")
    with pytest.raises(DataError, match="help:"):
        load_rigged(path)


def test_concatenate_and_index() -> None:
    a, b = random_gaussians(HEAD, 5), random_gaussians(HEAD, 7, seed=1)
    both = concatenate([a, b])
    assert len(both) == 12
    assert torch.equal(both[5:].means, b.means)
