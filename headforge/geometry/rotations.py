"""Rotations: axis-angle vectors in radians, 3x3 matrices that act on column vectors, quaternions wxyz."""

from __future__ import annotations

import torch
from torch import Tensor


def skew(vector: Tensor) -> Tensor:
    """Return the matrix K [*, 3, 3] of a vector [*, 3] with K @ x = vector x x."""
    x, y, z = vector.unbind(-1)
    zero = torch.zeros_like(x)
    return torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], dim=-1).reshape(*vector.shape[:-1], 3, 3)


def axis_angle_to_matrix(axis_angle: Tensor) -> Tensor:
    """Convert [*, 3] to [*, 3, 3] by Rodrigues' formula; smooth with exact gradients at zero.

    R = I + (sin t / t) K + ((1 - cos t) / t^2) K^2, with both factors replaced by their Taylor series below t^2 = 1e-6,
    where float32 would lose them.
    """
    angle_sq = (axis_angle * axis_angle).sum(-1, keepdim=True)[..., None]
    small = angle_sq < 1e-6
    safe_sq = torch.where(small, torch.ones_like(angle_sq), angle_sq)
    angle = safe_sq.sqrt()
    sin_factor = torch.where(small, 1 - angle_sq / 6, angle.sin() / angle)
    cos_factor = torch.where(small, 0.5 - angle_sq / 24, (1 - angle.cos()) / safe_sq)
    k = skew(axis_angle)
    identity = torch.eye(3, dtype=axis_angle.dtype, device=axis_angle.device)
    return identity + sin_factor * k + cos_factor * (k @ k)


def matrix_to_axis_angle(matrix: Tensor) -> Tensor:
    """Convert a rotation [*, 3, 3] to the axis-angle vector [*, 3] with an angle in [0, pi]."""
    quat = matrix_to_quat(matrix)
    quat = torch.where(quat[..., :1] < 0, -quat, quat)
    w, xyz = quat[..., :1], quat[..., 1:]
    norm = xyz.norm(dim=-1, keepdim=True)
    angle = 2 * torch.atan2(norm, w)
    small = norm < 1e-7
    factor = torch.where(small, 2 / w.clamp_min(1e-7), angle / norm.clamp_min(1e-12))
    return xyz * factor


def quat_to_matrix(quat: Tensor) -> Tensor:
    """Convert a quaternion wxyz [*, 4], normalised here, to [*, 3, 3]."""
    w, x, y, z = torch.nn.functional.normalize(quat, dim=-1).unbind(-1)
    rows = [
        1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y),
        2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x),
        2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y),
    ]  # fmt: skip
    return torch.stack(rows, dim=-1).reshape(*quat.shape[:-1], 3, 3)


def matrix_to_quat(matrix: Tensor) -> Tensor:
    """Convert a rotation [*, 3, 3] to a unit quaternion wxyz [*, 4]: the best conditioned of Shepperd's four cases."""
    m = matrix
    trace = m[..., 0, 0] + m[..., 1, 1] + m[..., 2, 2]
    diagonal = torch.stack([trace, m[..., 0, 0], m[..., 1, 1], m[..., 2, 2]], dim=-1)
    squares = (1 - trace[..., None] + 2 * diagonal).clone()
    squares[..., 0] = 1 + trace
    a, b, c = m[..., 2, 1], m[..., 0, 2], m[..., 1, 0]
    d, e, f = m[..., 1, 2], m[..., 2, 0], m[..., 0, 1]
    candidates = torch.stack(
        [
            torch.stack([squares[..., 0], a - d, b - e, c - f], dim=-1),
            torch.stack([a - d, squares[..., 1], c + f, b + e], dim=-1),
            torch.stack([b - e, c + f, squares[..., 2], a + d], dim=-1),
            torch.stack([c - f, b + e, a + d, squares[..., 3]], dim=-1),
        ],
        dim=-2,
    )
    best = squares.argmax(dim=-1)
    index = best[..., None, None].expand(*best.shape, 1, 4)
    return torch.nn.functional.normalize(candidates.gather(-2, index)[..., 0, :], dim=-1)


def quat_multiply(a: Tensor, b: Tensor) -> Tensor:
    """Return the Hamilton product of wxyz quaternions: the rotation b, then a."""
    aw, ax, ay, az = a.unbind(-1)
    bw, bx, by, bz = b.unbind(-1)
    return torch.stack(
        [
            aw * bw - ax * bx - ay * by - az * bz,
            aw * bx + ax * bw + ay * bz - az * by,
            aw * by - ax * bz + ay * bw + az * bx,
            aw * bz + ax * by - ay * bx + az * bw,
        ],
        dim=-1,
    )
