"""Triangle ids against brute force, barycentrics and depth against the geometry they stand for."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from headforge.errors import NotFiniteError, ShapeError
from headforge.geometry.cameras import look_at, orbit_camera, pinhole_matrix, project
from headforge.render.mesh import NEAR_M, interpolate, rasterize, scatter_face_ids
from headforge.types import Camera
from tests.heads import HALF_AXES_M, tiny_head


def camera(size: int = 48, n: int = 1) -> Camera:
    yaw = torch.tensor([20.0, -50.0, 130.0])[:n]
    return orbit_camera(yaw, torch.tensor([5.0, -20.0, 30.0])[:n], distance_m=0.8, focal_px=2.2 * size, width=size,
                        height=size)  # fmt: skip


def camera_inside(size: int = 40) -> Camera:
    """Wide, in the middle of what `soup` makes, so that many triangles are partly behind it."""
    return orbit_camera(torch.tensor([35.0]), torch.tensor([10.0]), distance_m=0.03, focal_px=0.5 * size, width=size,
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
    at_the_plane = ((depth - NEAR_M).abs() < 1e-5).any(-1)
    depth = torch.where((least >= 0) & (depth > NEAR_M), depth, torch.inf)
    nearest, ids = depth.min(-1)
    second = depth.kthvalue(2, dim=-1).values if len(faces) > 1 else torch.full_like(nearest, torch.inf)
    clear = (least.abs() > 1e-3).all(-1) & ~(second - nearest < 1e-5) & ~at_the_plane
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


def crossing(vertices: torch.Tensor, faces: torch.Tensor, view: Camera) -> torch.Tensor:
    """[F] whether a triangle has corners on both sides of the near plane."""
    in_front = (vertices @ view.viewmat[0, 2, :3] + view.viewmat[0, 2, 3])[0] > NEAR_M
    return in_front[faces].any(-1) & ~in_front[faces].all(-1)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000), dtype=st.sampled_from([torch.float32, torch.float64]))
def test_triangles_are_cut_at_the_near_plane(seed: int, dtype: torch.dtype) -> None:
    vertices, faces = soup(seed)
    view = camera_inside()
    ids, clear = brute_force_ids(vertices[0], faces, view[0])
    assert clear.float().mean() > 0.8
    # In float64 the ids come from the scatter version.
    fragments = rasterize(vertices.to(dtype), faces, Camera(view.K.to(dtype), view.viewmat.to(dtype), 40, 40))
    assert torch.equal(fragments.face_ids[0][clear], ids[clear])
    is_cut = fragments.mask[0] & crossing(vertices, faces, view)[fragments.face_ids[0].clamp_min(0)]
    surface = (fragments.barycentrics[0][is_cut][..., None] * vertices[0][faces[fragments.face_ids[0][is_cut]]]).sum(1)
    pixels, depth = project(view[0], surface.float())
    rows, columns = is_cut.nonzero(as_tuple=True)
    assert torch.allclose(depth, fragments.depth[0][is_cut].float(), atol=1e-5)
    # Closer than this, rounding of the corners is many pixels.
    far_enough = depth > 0.02
    assert torch.allclose(pixels[far_enough], torch.stack([columns, rows], dim=-1)[far_enough] + 0.5, atol=5e-3)


def test_many_triangles_of_the_soup_are_cut() -> None:
    vertices, faces = soup(3)
    view = camera_inside()
    fragments = rasterize(vertices, faces, view)
    is_cut = crossing(vertices, faces, view)
    assert is_cut.sum() >= 3
    assert is_cut[fragments.face_ids[fragments.mask]].float().mean() > 0.2
    # Two pictures in one call, of which one needs no cutting.
    both = rasterize(vertices.expand(2, -1, -1), faces, Camera.stack([view[0], camera(40)[0]]))
    assert torch.equal(both.face_ids[0], fragments.face_ids[0])
    assert torch.equal(both.face_ids[1], rasterize(vertices, faces, camera(40)).face_ids[0])


@pytest.mark.parametrize("under_the_skin_m", [0.006, 0.03])
def test_a_camera_inside_the_head_sees_it_everywhere(under_the_skin_m: float) -> None:
    head = tiny_head()
    # Looking along the skin, which crosses the near plane beside the camera.
    centre = torch.tensor([[0.0, 0.0, HALF_AXES_M[2] - under_the_skin_m]])
    view = Camera(pinhole_matrix(16.0, 64, 64)[None], look_at(centre, torch.tensor([[0.05, 0.0, 0.09]])), 64, 64)
    assert crossing(head.v_template[None], head.faces, view).any()
    fragments = rasterize(head.v_template[None], head.faces, view)
    assert fragments.mask.all() and fragments.depth.min() >= NEAR_M * (1 - 1e-3)
    ids, clear = brute_force_ids(head.v_template, head.faces, view[0])
    assert torch.equal(fragments.face_ids[0][clear], ids[clear])


def test_cut_triangles_pass_gradcheck() -> None:
    vertices = torch.tensor([[[-0.1, -0.1, 0.5], [0.12, -0.08, 0.6], [0.05, 0.3, -0.2]]], dtype=torch.float64)
    view = Camera(pinhole_matrix(4.0, 8, 8)[None].double(), torch.eye(4, dtype=torch.float64)[None], 8, 8)
    faces = torch.tensor([[0, 1, 2]])

    def fragments(v: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        result = rasterize(v, faces, view)
        return result.barycentrics, result.depth

    assert rasterize(vertices, faces, view).mask.sum() > 5
    assert torch.autograd.gradcheck(fragments, vertices.requires_grad_(), eps=1e-8, atol=1e-5)


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
