"""Real spherical harmonics up to degree 4, in the order and signs of 3D Gaussian Splatting files."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from headforge.errors import ShapeError

MAX_DEGREE = 4


def sh_basis(degree: int, directions: Tensor) -> Tensor:
    """Return the basis values [*, (degree + 1)^2] at unit `directions` [*, 3].

    Ordered by l, then m = -l..l, orthonormal over the sphere, with the Condon-Shortley sign: the degree 1 terms are
    -k y, k z, -k x with k = sqrt(3 / 4 pi).
    """
    if not 0 <= degree <= MAX_DEGREE:
        raise ValueError(f"spherical harmonics go up to degree {MAX_DEGREE}, asked for {degree}")
    x, y, z = directions.unbind(-1)
    xx, yy, zz = x * x, y * y, z * z
    values = [torch.full_like(x, 0.5 * math.sqrt(1 / math.pi))]
    if degree >= 1:
        k = math.sqrt(3 / (4 * math.pi))
        values += [-k * y, k * z, -k * x]
    if degree >= 2:
        k = 0.5 * math.sqrt(15 / math.pi)
        values += [
            k * x * y,
            -k * y * z,
            math.sqrt(5 / math.pi) / 4 * (2 * zz - xx - yy),
            -k * x * z,
            k / 2 * (xx - yy),
        ]
    if degree >= 3:
        a, b, c = math.sqrt(35 / (2 * math.pi)) / 4, math.sqrt(105 / math.pi) / 2, math.sqrt(21 / (2 * math.pi)) / 4
        values += [
            -a * y * (3 * xx - yy),
            b * x * y * z,
            -c * y * (4 * zz - xx - yy),
            math.sqrt(7 / math.pi) / 4 * z * (2 * zz - 3 * xx - 3 * yy),
            -c * x * (4 * zz - xx - yy),
            b / 2 * z * (xx - yy),
            -a * x * (xx - 3 * yy),
        ]
    if degree >= 4:
        a, b = math.sqrt(35 / math.pi) * 0.75, math.sqrt(35 / (2 * math.pi)) * 0.75
        c, d = math.sqrt(5 / math.pi) * 0.75, math.sqrt(5 / (2 * math.pi)) * 0.75
        values += [
            a * x * y * (xx - yy),
            -b * y * z * (3 * xx - yy),
            c * x * y * (7 * zz - 1),
            -d * y * z * (7 * zz - 3),
            3 / (16 * math.sqrt(math.pi)) * (zz * (35 * zz - 30) + 3),
            -d * x * z * (7 * zz - 3),
            c / 2 * (xx - yy) * (7 * zz - 1),
            -b * x * z * (xx - 3 * yy),
            a / 4 * (xx * (xx - 3 * yy) - yy * (3 * xx - yy)),
        ]
    return torch.stack(values, dim=-1)


def eval_sh(degree: int, dirs: Tensor, coeffs: Tensor) -> Tensor:
    """Return the colour [*, C] of SH `coeffs` [*, K, C] along `dirs` [*, 3] (camera to Gaussian, any length).

    K may exceed (degree + 1)^2; the higher coefficients are then not used. Without offset or clamping: 3D Gaussian
    Splatting draws max(eval_sh + 0.5, 0), see `splat_colors`.
    """
    n_basis = (degree + 1) ** 2
    if coeffs.dim() < 2 or coeffs.shape[-2] < n_basis:
        raise ShapeError("coeffs", f"[*, K >= {n_basis}, C]", tuple(coeffs.shape))
    basis = sh_basis(degree, torch.nn.functional.normalize(dirs, dim=-1))
    return (basis[..., None, :] @ coeffs[..., :n_basis, :])[..., 0, :]


def splat_colors(degree: int, means: Tensor, viewmats: Tensor, coeffs: Tensor) -> Tensor:
    """Return the colours [..., M, N, C] of Gaussians at `means` [..., N, 3] from the cameras `viewmats` [..., M, 4, 4].

    `coeffs` is [..., N, K, C] or, one set per camera, [..., M, N, K, C]. 3D Gaussian Splatting's convention: 0.5 is
    added and negative values are clamped, so that zero coefficients are mid grey.
    """
    rotation, translation = viewmats[..., :3, :3], viewmats[..., :3, 3]
    centres = -(rotation.transpose(-1, -2) @ translation[..., None])[..., 0]
    dirs = means[..., None, :, :] - centres[..., :, None, :]
    if coeffs.dim() < dirs.dim() + 1:
        coeffs = coeffs[..., None, :, :, :]
    return (eval_sh(degree, dirs, coeffs) + 0.5).clamp_min(0)
