from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from headforge.geometry.cameras import (
    camera_to_colmap,
    camera_to_eg3d,
    camera_to_gaussianavatars,
    camera_to_nerfstudio,
    colmap_to_camera,
    eg3d_to_camera,
    focal_px_from_fov,
    look_at,
    nerfstudio_to_camera,
    opengl_c2w_to_viewmat,
    orbit_camera,
    pinhole_matrix,
    project,
    transform_points,
    viewmat_to_opengl_c2w,
    yaw_pitch_deg,
)
from headforge.types import Camera
from tests.geometry.strategies import cameras, vectors


@given(cameras())
def test_opengl_round_trip(camera: Camera) -> None:
    c2w = viewmat_to_opengl_c2w(camera.viewmat)
    torch.testing.assert_close(opengl_c2w_to_viewmat(c2w), camera.viewmat, atol=1e-9, rtol=0)
    torch.testing.assert_close(c2w[:3, 3], camera.centre, atol=1e-9, rtol=0)


@given(cameras())
def test_eg3d_round_trip(camera: Camera) -> None:
    label = camera_to_eg3d(camera)
    assert label.shape == (25,)
    found = eg3d_to_camera(label, camera.width, camera.height)
    torch.testing.assert_close(found.viewmat, camera.viewmat, atol=1e-9, rtol=0)
    torch.testing.assert_close(found.K, camera.K, atol=1e-9, rtol=1e-12)


@given(cameras(), vectors(3, 0.4))
def test_projection_sees_along_the_axes_of_opencv(camera: Camera, point: torch.Tensor) -> None:
    local = transform_points(camera.viewmat, point[None])[0]
    if local[2] < 0.05:
        return
    pixel, depth = project(camera, point[None])
    expected = camera.K[[0, 1], [0, 1]] * local[:2] / local[2] + camera.K[:2, 2]
    torch.testing.assert_close(pixel[0], expected, atol=1e-6, rtol=1e-9)
    torch.testing.assert_close(depth[0], local[2])
    in_opengl = torch.linalg.inv(viewmat_to_opengl_c2w(camera.viewmat))[:3] @ torch.cat([point, point.new_ones(1)])
    torch.testing.assert_close(in_opengl, local * local.new_tensor([1, -1, -1]), atol=1e-9, rtol=0)


@given(vectors(3, 2), vectors(3, 2))
def test_look_at_is_rigid_upright_and_sees_its_target_in_front(centre: torch.Tensor, target: torch.Tensor) -> None:
    sideways = (target - centre)[[0, 2]].norm()
    if sideways < 0.05:
        return
    viewmat = look_at(centre, target)
    R = viewmat[:3, :3]
    torch.testing.assert_close(R @ R.T, torch.eye(3, dtype=R.dtype), atol=1e-9, rtol=0)
    assert torch.linalg.det(R) > 0
    seen = transform_points(viewmat, target[None])[0]
    torch.testing.assert_close(seen, seen.new_tensor([0, 0, (target - centre).norm()]), atol=1e-9, rtol=0)
    up = R @ R.new_tensor([0, 1, 0])
    assert abs(float(up[0])) < 1e-9 and up[1] < 0


angles = st.tuples(st.floats(-179, 179), st.floats(-85, 85))


@given(angles, vectors(3, 0.3))
def test_yaw_and_pitch_of_an_orbit_come_back(angle: tuple[float, float], target: torch.Tensor) -> None:
    target = target.float()
    camera = orbit_camera(*angle, distance_m=1.3, focal_px=500, width=64, height=48, target=target)
    yaw, pitch = yaw_pitch_deg(camera, target)
    assert float(yaw) == pytest.approx(angle[0], abs=2e-3)
    assert float(pitch) == pytest.approx(angle[1], abs=2e-3)
    assert float((camera.centre - target).norm()) == pytest.approx(1.3, abs=1e-5)
    pixel, depth = project(camera, target[None])
    torch.testing.assert_close(pixel[0], torch.tensor([32.0, 24.0]), atol=1e-3, rtol=0)
    assert float(depth) == pytest.approx(1.3, abs=1e-5)


def test_signs_of_the_convention() -> None:
    """Yaw towards the subject's left (+x), pitch upwards; in a frontal picture the left ear is on the right."""
    left = orbit_camera(90.0, 0.0, distance_m=2.0, focal_px=100, width=10, height=10)
    torch.testing.assert_close(left.centre, torch.tensor([2.0, 0.0, 0.0]), atol=1e-6, rtol=0)
    above = orbit_camera(0.0, 30.0, distance_m=2.0, focal_px=100, width=10, height=10)
    torch.testing.assert_close(above.centre, torch.tensor([0.0, 1.0, 3.0**0.5]), atol=1e-6, rtol=0)
    front = orbit_camera(0.0, 0.0, distance_m=2.0, focal_px=100, width=10, height=10)
    pixels, _ = project(front, torch.tensor([[0.1, 0.0, 0.0], [0.0, 0.1, 0.0]]))
    torch.testing.assert_close(pixels, torch.tensor([[10.0, 5.0], [5.0, 0.0]]), atol=1e-5, rtol=0)


def test_batched_orbits_equal_single_ones() -> None:
    yaw, pitch = torch.tensor([0.0, 30.0, -50.0]), torch.tensor([5.0, -20.0, 40.0])
    batch = orbit_camera(yaw, pitch, distance_m=1.0, focal_px=80, width=32, height=32)
    for i in range(3):
        one = orbit_camera(float(yaw[i]), float(pitch[i]), distance_m=1.0, focal_px=80, width=32, height=32)
        torch.testing.assert_close(batch[i].viewmat, one.viewmat)
        torch.testing.assert_close(batch[i].K, one.K)
    stacked = Camera.stack([batch[i] for i in range(3)])
    assert torch.equal(stacked.viewmat, batch.viewmat)


@given(cameras(), st.integers(8, 512), st.integers(8, 512), vectors(3, 0.2))
def test_resizing_moves_projections_with_the_pixels(
    camera: Camera, width: int, height: int, point: torch.Tensor
) -> None:
    before, depth = project(camera, point[None])
    if depth[0] < 0.05:
        return
    after, _ = project(camera.resized(width, height), point[None])
    scale = before.new_tensor([width / camera.width, height / camera.height])
    torch.testing.assert_close(after, before * scale, atol=1e-6, rtol=1e-9)


@given(st.floats(5, 120), st.integers(16, 2048))
def test_a_field_of_view_reaches_the_edges(fov_deg: float, size: int) -> None:
    focal = focal_px_from_fov(fov_deg, size)
    assert 2 * math.degrees(math.atan(size / 2 / focal)) == pytest.approx(fov_deg)


def test_the_principal_point_is_the_middle_of_the_image() -> None:
    K = pinhole_matrix(torch.tensor([50.0, 60.0]), 6, 4)
    assert K[:, 0, 2].tolist() == [3, 3] and K[:, 1, 2].tolist() == [2, 2]
    assert K[1].diagonal().tolist() == [60, 60, 1]


@given(cameras())
def test_nerfstudio_round_trip(camera: Camera) -> None:
    frame = camera_to_nerfstudio(camera)
    c2w = torch.tensor(frame["transform_matrix"], dtype=camera.K.dtype)
    numbers = {name: float(str(frame[name])) for name in ("fl_x", "fl_y", "cx", "cy")}
    found = nerfstudio_to_camera(c2w, **numbers, width=camera.width, height=camera.height)
    torch.testing.assert_close(found.viewmat, camera.viewmat, atol=1e-9, rtol=0)
    torch.testing.assert_close(found.K, camera.K, atol=1e-9, rtol=1e-12)
    torch.testing.assert_close(c2w, viewmat_to_opengl_c2w(camera.viewmat))
    assert [frame[name] for name in ("w", "h", "k1", "k2", "p1", "p2")] == [camera.width, camera.height, 0, 0, 0, 0]


def test_nerfstudio_can_not_say_skew() -> None:
    K = pinhole_matrix(40.0, 16, 16)
    K[0, 1] = 0.5
    with pytest.raises(ValueError, match="no skew"):
        camera_to_nerfstudio(Camera(K, torch.eye(4), 16, 16))


@given(cameras())
def test_colmap_round_trip(camera: Camera) -> None:
    quat, translation, pinhole = (torch.tensor(v, dtype=camera.K.dtype) for v in camera_to_colmap(camera))
    found = colmap_to_camera(2 * quat, translation, pinhole, camera.width, camera.height)
    torch.testing.assert_close(found.viewmat, camera.viewmat, atol=1e-9, rtol=0)
    torch.testing.assert_close(found.K, camera.K, atol=1e-9, rtol=1e-12)


@given(cameras(), vectors(3, 0.2))
def test_gaussianavatars_projects_as_we_do_where_the_middle_is_the_principal_point(
    camera: Camera, point: torch.Tensor
) -> None:
    """The reader knows a field of view, a size and a matrix: its projection, in normalised device coordinates."""
    K = camera.K.clone()
    K[1, 1], K[0, 2], K[1, 2] = K[0, 0], camera.width / 2, camera.height / 2
    camera = Camera(K, camera.viewmat, camera.width, camera.height)
    frame = camera_to_gaussianavatars(camera)
    c2w = torch.tensor(frame["transform_matrix"], dtype=K.dtype)
    local = (torch.linalg.inv(c2w) @ torch.cat([point, point.new_ones(1)]))[:3]
    if -local[2] < 0.05:
        return
    focal = camera.width / (2 * math.tan(float(str(frame["camera_angle_x"])) / 2))
    seen = torch.stack(
        [local[0] / -local[2] * focal + camera.width / 2, local[1] / local[2] * focal + camera.height / 2]
    )
    torch.testing.assert_close(project(camera, point[None])[0][0], seen, atol=1e-6, rtol=1e-9)
