"""Camera construction, projection, and every converter between conventions.

The convention inside headforge is OpenCV (x right, y down, z forward), world to camera, K in pixels, pixel centres at
+0.5. No other module may flip an axis.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from headforge.geometry.rotations import matrix_to_quat, quat_to_matrix
from headforge.types import Camera

OPENCV_TO_OPENGL = torch.diag(torch.tensor([1.0, -1.0, -1.0, 1.0], device="cpu"))
"""Flips the camera's y and z axes; its own inverse."""


def look_at(centre: Tensor, target: Tensor, up: Tensor | None = None) -> Tensor:
    """Return world to camera [*, 4, 4] of a camera at `centre` [*, 3] looking at `target` [*, 3], `up` (y) upwards."""
    up = centre.new_tensor([0.0, 1.0, 0.0]) if up is None else up
    forward = torch.nn.functional.normalize(target - centre, dim=-1)
    right = torch.nn.functional.normalize(torch.linalg.cross(forward, up.expand_as(forward)), dim=-1)
    down = torch.linalg.cross(forward, right)
    rotation = torch.stack([right, down, forward], dim=-2)
    viewmat = torch.zeros(*centre.shape[:-1], 4, 4, dtype=centre.dtype, device=centre.device)
    viewmat[..., :3, :3] = rotation
    viewmat[..., :3, 3] = -(rotation @ centre[..., None])[..., 0]
    viewmat[..., 3, 3] = 1
    return viewmat


def orbit_camera(
    yaw_deg: Tensor | float,
    pitch_deg: Tensor | float,
    *,
    distance_m: float,
    focal_px: float,
    width: int,
    height: int,
    target: Tensor | None = None,
    device: torch.device | str = "cpu",
) -> Camera:
    """Return cameras on a sphere about `target` (default: the origin), looking at it.

    yaw_deg is the true azimuth (0 in front of the face, positive towards the subject's left, +x), pitch_deg the true
    elevation (positive above). Both scalar or [*]; the camera has their batch shape. It is on the device of the tensors
    among yaw_deg, pitch_deg and `target`, or on `device` if all are numbers.
    """
    tensors = [value for value in (yaw_deg, pitch_deg, target) if isinstance(value, Tensor)]
    place = tensors[0].device if tensors else device
    angles = (a if isinstance(a, Tensor) else torch.as_tensor(a, device=place) for a in (yaw_deg, pitch_deg))
    yaw, pitch = torch.broadcast_tensors(*angles)
    yaw, pitch = torch.deg2rad(yaw.float()), torch.deg2rad(pitch.float())
    offset = torch.stack([yaw.sin() * pitch.cos(), pitch.sin(), yaw.cos() * pitch.cos()], dim=-1)
    target = offset.new_zeros(3) if target is None else target
    viewmat = look_at(target + distance_m * offset, target.expand_as(offset))
    K = pinhole_matrix(focal_px, width, height, place).expand(*yaw.shape, 3, 3)
    return Camera(K.contiguous(), viewmat, width, height)


def pinhole_matrix(focal_px: Tensor | float, width: int, height: int, device: torch.device | str = "cpu") -> Tensor:
    """Return [*, 3, 3] intrinsics with square pixels and the principal point in the middle of the image.

    It is on the device of focal_px, or on `device` if that is a number.
    """
    if isinstance(focal_px, Tensor):
        focal = focal_px.float()
    else:
        focal = torch.tensor(focal_px, dtype=torch.float32, device=device)
    K = torch.zeros(*focal.shape, 3, 3, dtype=focal.dtype, device=focal.device)
    K[..., 0, 0] = focal
    K[..., 1, 1] = focal
    K[..., 0, 2] = width / 2
    K[..., 1, 2] = height / 2
    K[..., 2, 2] = 1
    return K


def yaw_pitch_deg(camera: Camera, target: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Return true azimuth and elevation [*] in degrees of the camera centre from `target` (default: the origin)."""
    centre = camera.centre
    offset = centre if target is None else centre - target
    yaw = torch.atan2(offset[..., 0], offset[..., 2])
    pitch = torch.atan2(offset[..., 1], offset[..., [0, 2]].norm(dim=-1))
    return torch.rad2deg(yaw), torch.rad2deg(pitch)


def transform_points(viewmat: Tensor, points: Tensor) -> Tensor:
    """Apply transforms [*, 4, 4] to points [*, N, 3]."""
    return points @ viewmat[..., :3, :3].transpose(-1, -2) + viewmat[..., None, :3, 3]


def project(camera: Camera, points: Tensor) -> tuple[Tensor, Tensor]:
    """Project world points [*, N, 3] to pixels [*, N, 2] and camera depth [*, N] (z; positive in front)."""
    local = transform_points(camera.viewmat, points)
    homogeneous = local @ camera.K.transpose(-1, -2)
    depth = local[..., 2]
    return homogeneous[..., :2] / homogeneous[..., 2:].clamp_min(1e-9), depth


def viewmat_to_opengl_c2w(viewmat: Tensor) -> Tensor:
    """Convert world to camera (OpenCV) to camera to world (OpenGL: y up, looks along -z), as NeRF and VHAP write it."""
    return torch.linalg.inv(viewmat) @ OPENCV_TO_OPENGL.to(viewmat)


def opengl_c2w_to_viewmat(c2w: Tensor) -> Tensor:
    """Apply the inverse of `viewmat_to_opengl_c2w`."""
    return _inverse(c2w @ OPENCV_TO_OPENGL.to(c2w))


def _inverse(pose: Tensor) -> Tensor:
    """Return the inverse of a pose from a file. Raises ValueError if it has none."""
    try:
        return torch.linalg.inv(pose)
    except RuntimeError as error:
        raise ValueError("a matrix of a camera has no inverse") from error


def camera_to_eg3d(camera: Camera) -> Tensor:
    """Return EG3D's label [*, 25]: camera to world (OpenCV axes) row-major, then K normalised by the image size."""
    c2w = torch.linalg.inv(camera.viewmat)
    size = camera.K.new_tensor([camera.width, camera.height, 1.0])
    K = camera.K / size[:, None]
    return torch.cat([c2w.flatten(-2), K.flatten(-2)], dim=-1)


def eg3d_to_camera(label: Tensor, width: int, height: int) -> Camera:
    """Apply the inverse of `camera_to_eg3d` for an image of the given size."""
    c2w = label[..., :16].unflatten(-1, (4, 4))
    size = label.new_tensor([width, height, 1.0])
    K = label[..., 16:].unflatten(-1, (3, 3)) * size[:, None]
    return Camera(K, _inverse(c2w), width, height)


def camera_to_nerfstudio(camera: Camera) -> dict[str, object]:
    """Return an unbatched camera as a frame of nerfstudio's `transforms.json`, camera model OPENCV without distortion.

    Keys: fl_x, fl_y, cx, cy in pixels (pixel centres at +0.5 there too), w, h, k1, k2, p1, p2, and `transform_matrix`,
    camera to world with OpenGL axes. Raises ValueError for a skewed K, which OPENCV can't represent.
    """
    _refuse_skew(camera, "OPENCV")
    (fl_x, _, cx), (_, fl_y, cy), _ = camera.K.tolist()
    return {
        **{"fl_x": fl_x, "fl_y": fl_y, "cx": cx, "cy": cy, "w": camera.width, "h": camera.height},
        **dict.fromkeys(("k1", "k2", "p1", "p2"), 0.0),
        "transform_matrix": viewmat_to_opengl_c2w(camera.viewmat).tolist(),
    }


def nerfstudio_to_camera(
    c2w: Tensor, *, fl_x: float, fl_y: float, cx: float, cy: float, width: int, height: int
) -> Camera:
    """Apply the inverse of `camera_to_nerfstudio` to a `transform_matrix` c2w [4, 4] and pinhole values in pixels."""
    K = c2w.new_tensor([[fl_x, 0.0, cx], [0.0, fl_y, cy], [0.0, 0.0, 1.0]])
    return Camera(K, opengl_c2w_to_viewmat(c2w), width, height)


def camera_to_colmap(camera: Camera) -> tuple[list[float], list[float], list[float]]:
    """Return an unbatched camera in COLMAP's text format, camera model PINHOLE: QW QX QY QZ, TX TY TZ, fx fy cx cy.

    COLMAP's poses are world to camera with OpenCV's axes, its pixel centres lie at +0.5. Raises ValueError for a skewed
    K, which PINHOLE can't represent.
    """
    _refuse_skew(camera, "PINHOLE")
    quat = matrix_to_quat(camera.viewmat[:3, :3])
    (fx, _, cx), (_, fy, cy), _ = camera.K.tolist()
    return quat.tolist(), camera.viewmat[:3, 3].tolist(), [fx, fy, cx, cy]


def colmap_to_camera(quat: Tensor, translation: Tensor, pinhole: Tensor, width: int, height: int) -> Camera:
    """Apply the inverse of `camera_to_colmap` to [4] wxyz (normalised here), [3] and [4] fx fy cx cy."""
    viewmat = torch.eye(4, dtype=quat.dtype, device=quat.device)
    viewmat[:3, :3] = quat_to_matrix(quat)
    viewmat[:3, 3] = translation
    fx, fy, cx, cy = pinhole.tolist()
    K = quat.new_tensor([[fx, 0.0, cx], [0.0, fy, cy], [0.0, 0.0, 1.0]])
    return Camera(K, viewmat, width, height)


def camera_to_gaussianavatars(camera: Camera) -> dict[str, object]:
    """Return an unbatched camera as a frame of VHAP's and GaussianAvatars' `transforms_*.json`.

    Keys: cx, cy, fl_x, fl_y in pixels, w, h, `camera_angle_x` and `camera_angle_y` (fields of view in radians) and
    `transform_matrix`, camera to world with OpenGL axes. GaussianAvatars' reader takes `camera_angle_x`, w, h and the
    matrix only: square pixels, principal point in the middle. The inverse is `nerfstudio_to_camera`. Raises ValueError
    for a skewed K.
    """
    _refuse_skew(camera, "pinhole")
    (fl_x, _, cx), (_, fl_y, cy), _ = camera.K.tolist()
    return {
        **{"fl_x": fl_x, "fl_y": fl_y, "cx": cx, "cy": cy, "w": camera.width, "h": camera.height},
        "camera_angle_x": 2 * math.atan(camera.width / (2 * fl_x)),
        "camera_angle_y": 2 * math.atan(camera.height / (2 * fl_y)),
        "transform_matrix": viewmat_to_opengl_c2w(camera.viewmat).tolist(),
    }


def _refuse_skew(camera: Camera, model: str) -> None:
    if float(camera.K[0, 1]) or float(camera.K[1, 0]):
        raise ValueError(f"a camera of the model {model} has no skew, K[0, 1] is {float(camera.K[0, 1])}")


def focal_px_from_fov(fov_deg: float, size_px: int) -> float:
    """Return the focal length in pixels of a field of view of `fov_deg` over `size_px` pixels."""
    return size_px / (2 * math.tan(math.radians(fov_deg) / 2))
