"""Every function of cameras, rotations and meshes makes its tensors where its inputs are."""

from __future__ import annotations

import torch

from headforge.geometry import camera_check, cameras, meshes, rotations
from headforge.geometry.camera_check import check_camera_convention, mirrored_landmarks, triangulate
from headforge.types import Camera
from tests.devices import Call, check_complete, check_on_cpu, check_on_meta, parametrized

FILE = "gives the numbers that a file holds"
SEARCH = "drops views and compares candidates by their values"
VIEW = {"distance_m": 1.0, "focal_px": 40.0, "width": 32, "height": 32}
FACES = torch.tensor([[0, 1, 2], [0, 2, 3]])


def rows(*shape: int) -> torch.Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(0))


def camera(n: int | None = 2) -> Camera:
    found = cameras.orbit_camera(torch.tensor([10.0, -20.0, 30.0]), 5.0, **VIEW)
    return found[0] if n is None else found[:n]


def turn() -> torch.Tensor:
    return rotations.axis_angle_to_matrix(rows(2, 3))


def seen_landmarks() -> tuple[Camera, torch.Tensor]:
    seen = camera(3)
    return seen, cameras.project(seen, 0.1 * rows(68, 3))[0]


PINHOLE = {"fl_x": 40.0, "fl_y": 40.0, "cx": 16.0, "cy": 16.0, "width": 32, "height": 32}
CALLS = [
    Call(rotations.skew, lambda: (rows(2, 3),)),
    Call(rotations.axis_angle_to_matrix, lambda: (rows(2, 3),)),
    Call(rotations.matrix_to_axis_angle, lambda: (turn(),)),
    Call(rotations.quat_to_matrix, lambda: (rows(2, 4),)),
    Call(rotations.matrix_to_quat, lambda: (turn(),)),
    Call(rotations.quat_multiply, lambda: (rows(2, 4), rows(2, 4))),
    Call(cameras.look_at, lambda: (rows(2, 3), 1 + rows(2, 3))),
    Call(cameras.orbit_camera, lambda: (rows(2), rows(2)), VIEW),
    Call(cameras.orbit_camera, lambda: (3.0, rows(2)), VIEW),
    Call(cameras.orbit_camera, lambda: (3.0, 4.0), {**VIEW, "target": rows(3)}),
    Call(cameras.pinhole_matrix, lambda: (rows(2), 32, 32)),
    Call(cameras.yaw_pitch_deg, lambda: (camera(), rows(3))),
    Call(cameras.transform_points, lambda: (camera().viewmat, rows(2, 5, 3))),
    Call(cameras.project, lambda: (camera(), rows(2, 5, 3))),
    Call(cameras.viewmat_to_opengl_c2w, lambda: (camera().viewmat,)),
    Call(cameras.opengl_c2w_to_viewmat, lambda: (camera().viewmat,)),
    Call(cameras.camera_to_eg3d, lambda: (camera(),)),
    Call(cameras.eg3d_to_camera, lambda: (cameras.camera_to_eg3d(camera()), 32, 32)),
    Call(cameras.nerfstudio_to_camera, lambda: (cameras.viewmat_to_opengl_c2w(camera(None).viewmat),), PINHOLE),
    Call(cameras.camera_to_nerfstudio, lambda: (camera(None),), reason=FILE),
    Call(cameras.camera_to_colmap, lambda: (camera(None),), reason=FILE),
    Call(cameras.colmap_to_camera, lambda: (rows(4), rows(3), rows(4), 32, 32), reason=FILE),
    Call(cameras.camera_to_gaussianavatars, lambda: (camera(None),), reason=FILE),
    Call(Camera.resized, lambda: (camera(), 16, 16)),
    Call(meshes.face_normals, lambda: (rows(2, 4, 3), FACES)),
    Call(meshes.vertex_normals, lambda: (rows(2, 4, 3), FACES)),
    Call(meshes.triangle_frames, lambda: (rows(2, 4, 3), FACES)),
    Call(meshes.interpolate_on_faces, lambda: (rows(2, 4, 3), FACES, torch.tensor([0, 1, 1]), rows(3, 3))),
    Call(meshes.similarity_alignment, lambda: (rows(9, 3), rows(9, 3))),
    Call(triangulate, lambda: (*seen_landmarks(), torch.ones(3, 68, dtype=torch.bool))),
    Call(mirrored_landmarks, lambda: (rows(2, 68, 2), 32)),
    Call(check_camera_convention, seen_landmarks, reason=SEARCH),
]
OTHERS = {
    "geometry.cameras.focal_px_from_fov": "numbers only",
    "geometry.camera_check.conventions": "makes a list of matrices to choose from",
}
runs_on_meta, all_calls = parametrized(CALLS)


@runs_on_meta
def test_on_meta(call: Call) -> None:
    check_on_meta(call)


@all_calls
def test_on_the_cpu_whatever_the_default_device_is(call: Call) -> None:
    check_on_cpu(call)


def test_no_entry_point_is_left_out() -> None:
    check_complete(CALLS, OTHERS, (rotations, cameras, meshes, camera_check))


def test_plain_numbers_give_cameras_on_the_device_that_is_named() -> None:
    assert cameras.orbit_camera(0.0, 0.0, **VIEW, device="meta").viewmat.is_meta
    assert cameras.pinhole_matrix(40.0, 32, 32, "meta").is_meta
    with torch.device("meta"):
        assert cameras.orbit_camera(0.0, 0.0, **VIEW).viewmat.is_cpu
