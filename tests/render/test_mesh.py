"""Triangle ids against brute force, barycentrics and depth against the geometry they stand for."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from headforge.errors import NotFiniteError, ShapeError
from headforge.geometry.cameras import orbit_camera, project
from headforge.render.mesh import interpolate, rasterize, scatter_face_ids
from headforge.types import Camera
from tests.heads import tiny_head


def camera(size: int = 48, n: int = 1) -> Camera:
    yaw = torch.tensor([20.0, -50.0, 130.0])[:n]
    return orbit_camera(yaw, torch.tensor([5.0, -20.0, 30.0])[:n], distance_m=0.8, focal_px=2.2 * size, width=size,
                        height=size)  # fmt: skip


def soup(seed: int, n_faces: int = 12) -> tuple[torch.Tensor, torch.Tensor]:
    """Separate triangles of any orientation, some partly outside the image."""
    vertices = 0.12 * torch.randn(1, 3 * n_faces, 3, generator=torch.Generator().manual_seed(seed))
    return vertices, torch.arange(3 * n_faces).reshape(n_faces, 3)


def brute_force_ids(vertices: torch.Tensor, faces: torch.Tensor, view: Camera) -> tuple[torch.Tensor, torch.Tensor]:
    """Ray by ray in float64 (Moeller-Trumbore): ids, and whether the pixel is far from every edge and depth tie."""
    v = vertices.double() @ view.viewmat[:3, :3].double().T + view.viewmat[:3, 3].double()
    y, x = torch.meshgrid(torch.arange(view.height) + 0.5, torch.arange(view.width) + 0.5, indexing="ij")
    rays = torch.stack([x, y, torch.ones_like(x)], dim=-1).double() @ torch.linalg.inv(view.K.double()).T
    a, b, c = (v[faces[:, i]] for i in range(3))
    normal = torch.linalg.cross(b - a, c - a)
    depth = (a * normal).sum(-1) / (rays[..., None, :] * normal).sum(-1)
    points = depth[..., None] * rays[..., None, :]
    area = normal.square().sum(-1)
    weights = torch.stack([(torch.linalg.cross((q - p).expand_as(points), points - p, dim=-1) * normal).sum(-1) / area
                           for p, q in ((b, c), (c, a), (a, b))], dim=-1)  # fmt: skip
    least = weights.min(-1).values
    depth = torch.where((least >= 0) & (depth > 0), depth, torch.inf)
    nearest, ids = depth.min(-1)
    second = depth.kthvalue(2, dim=-1).values if len(faces) > 1 else torch.full_like(nearest, torch.inf)
    clear = (least.abs() > 1e-3).all(-1) & ~(second - nearest < 1e-5)
    return torch.where(nearest.isinf(), -1, ids), clear


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_ids_equal_brute_force(seed: int) -> None:
    vertices, faces = soup(seed)
    view = camera()
    ids, clear = brute_force_ids(vertices[0], faces, view[0])
    found = rasterize(vertices, faces, view).face_ids[0]
    assert clear.float().mean() > 0.8
    assert torch.equal(found[clear], ids[clear])


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_scatter_version_has_the_same_contract(seed: int) -> None:
    vertices, faces = soup(seed)
    view = camera()
    xy, depth = project(view, vertices)
    found = scatter_face_ids(xy[0], 1 / depth[0], faces, 48, 48)
    reference = rasterize(vertices, faces, view).face_ids[0]
    # Pixels whose centre is on an edge to rounding may differ.
    assert (found != reference).float().mean() < 2e-3


def test_the_head_has_no_holes_and_shares_edges() -> None:
    head = tiny_head()
    fragments = rasterize(head.v_template.expand(3, -1, -1), head.faces, camera(96, 3))
    for mask in fragments.mask:
        rows = mask.any(1).nonzero()[:, 0]
        for row in mask[rows]:
            columns = row.nonzero()[:, 0]
            assert row[columns[0] : columns[-1] + 1].all()


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_interpolated_positions_project_to_the_pixel_centre(seed: int) -> None:
    vertices, faces = soup(seed)
    view = camera()
    fragments = rasterize(vertices, faces, view)
    mask = fragments.mask[0]
    surface = interpolate(fragments, vertices[0][faces])[0][mask]
    # A triangle seen edge-on has no well defined point under a pixel.
    v = vertices[0][faces[fragments.face_ids[0][mask]]]
    normal = torch.nn.functional.normalize(torch.linalg.cross(v[:, 1] - v[:, 0], v[:, 2] - v[:, 0]), dim=-1)
    ray = torch.nn.functional.normalize(surface - view.centre[0], dim=-1)
    open_face = (normal * ray).sum(-1).abs() > 0.05
    pixels, depth = project(view[0], surface)
    rows, columns = mask.nonzero(as_tuple=True)
    centres = torch.stack([columns, rows], dim=-1) + 0.5
    assert torch.allclose(pixels[open_face], centres[open_face], atol=5e-3)
    assert torch.allclose(depth[open_face], fragments.depth[0][mask][open_face], atol=1e-4)
    sums = fragments.barycentrics[0][mask].sum(-1)
    assert torch.allclose(sums, torch.ones_like(sums), atol=1e-5)


def test_barycentrics_and_depth_pass_gradcheck() -> None:
    vertices = torch.tensor([[[-0.1, -0.1, 0.05], [0.12, -0.08, -0.1], [0.0, 0.1, 0.0]]], dtype=torch.float64)
    view = camera(8)
    view = Camera(view.K.double(), view.viewmat.double(), 8, 8)
    faces = torch.tensor([[0, 1, 2]])

    def fragments(v: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        result = rasterize(v, faces, view)
        return result.barycentrics, result.depth

    assert rasterize(vertices, faces, view).mask.sum() > 5
    assert torch.autograd.gradcheck(fragments, vertices.requires_grad_(), eps=1e-7, atol=1e-5)


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_values_without_gradient_are_those_with_it(seed: int) -> None:
    vertices, faces = soup(seed)
    plain = rasterize(vertices, faces, camera())
    tracked = rasterize(vertices.requires_grad_(), faces, camera())
    assert tracked.barycentrics.requires_grad and not plain.barycentrics.requires_grad
    assert torch.equal(plain.face_ids, tracked.face_ids)
    assert torch.allclose(plain.barycentrics, tracked.barycentrics, atol=1e-6)
    assert torch.allclose(plain.depth, tracked.depth, atol=1e-6)


def test_background_and_nothing() -> None:
    vertices, faces = soup(1)
    fragments = rasterize(vertices, faces[:0], camera())
    assert not fragments.mask.any() and fragments.depth.abs().max() == 0
    behind = rasterize(vertices + torch.tensor([3.0, 0.0, 8.0]), faces, camera())
    assert not behind.mask.any()
    assert interpolate(fragments, torch.zeros(0, 3, 4)).shape == (1, 48, 48, 4)


def test_errors_name_the_tensor() -> None:
    vertices, faces = soup(1)
    with pytest.raises(ShapeError) as shape:
        rasterize(vertices[0], faces, camera())
    assert shape.value.name == "vertices"
    vertices[0, 3, 1] = torch.nan
    with pytest.raises(NotFiniteError) as nan:
        rasterize(vertices, faces, camera())
    assert nan.value.n_bad == 1
