"""Projection of 3D Gaussians to image ellipses in torch, and its constants.

EWA splatting (Zwicker et al. 2001) as gsplat 1.5.3 does it; the constants are that release's.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from headforge.geometry.cameras import transform_points
from headforge.geometry.rotations import quat_to_matrix

ALPHA_CAP = 0.999
"""A Gaussian's largest opacity at a pixel; at the cap it gets no gradient."""
ALPHA_MIN = 1 / 255
"""A Gaussian does not contribute to pixels where its opacity is below this."""
TRANSMITTANCE_STOP = 1e-4
"""Blending of a pixel stops before the Gaussian that would leave this transmittance or less."""
EXTENT_SIGMAS = 3.33
"""Largest half-size of a Gaussian's box; exp(-3.33^2 / 2) is just below ALPHA_MIN."""
FRUSTUM_MARGIN = 0.3
"""The ray slope in the projection's Jacobian is clamped this fraction of the half image outside the image."""
EPS2D_PX2 = 0.3
"""Added to both variances of the projected ellipse, square pixels."""
NEAR_PLANE_M = 0.01
FAR_PLANE_M = 1e10


@dataclass(frozen=True)
class Ellipses:
    """N projected Gaussians of one image."""

    centers: Tensor
    """[N, 2] pixels."""
    conics: Tensor
    """[N, 3] inverse covariance (xx, xy, yy), 1 / square pixels."""
    depths: Tensor
    """[N] z in camera coordinates."""
    opacities: Tensor
    """[N], times the antialiasing factor if requested."""
    radii: Tensor
    """[N, 2] whole pixels, not differentiable; zero for Gaussians outside the image."""


def project_gaussians(
    means: Tensor,
    quats: Tensor,
    scales: Tensor,
    opacities: Tensor,
    viewmat: Tensor,
    K: Tensor,
    width: int,
    height: int,
    *,
    eps2d: float = EPS2D_PX2,
    near_plane: float = NEAR_PLANE_M,
    antialiased: bool = False,
) -> Ellipses:
    """Project Gaussians (means [N, 3], quats [N, 4], scales [N, 3], opacities [N]) with one camera."""
    local = transform_points(viewmat, means)
    depths = local[:, 2]
    in_range = (depths >= near_plane) & (depths <= FAR_PLANE_M)
    x, y = local[:, 0], local[:, 1]
    z = torch.where(in_range, depths, torch.ones_like(depths))
    fx, fy, cx, cy = K[0, 0], K[1, 1], K[0, 2], K[1, 2]
    slope_x = (x / z).clamp(-cx / fx - FRUSTUM_MARGIN * width / fx / 2,
                            (width - cx) / fx + FRUSTUM_MARGIN * width / fx / 2)  # fmt: skip
    slope_y = (y / z).clamp(-cy / fy - FRUSTUM_MARGIN * height / fy / 2,
                            (height - cy) / fy + FRUSTUM_MARGIN * height / fy / 2)  # fmt: skip
    # Rows of J @ R_camera @ R_gaussian @ S; the covariance is their Gram matrix.
    rotation = viewmat[:3, :3]
    jx = (fx / z)[:, None] * (rotation[0] - slope_x[:, None] * rotation[2])
    jy = (fy / z)[:, None] * (rotation[1] - slope_y[:, None] * rotation[2])
    axes = quat_to_matrix(quats) * scales[:, None, :]
    mx, my = (jx[:, None, :] @ axes)[:, 0], (jy[:, None, :] @ axes)[:, 0]
    xx, xy, yy = (mx * mx).sum(-1), (mx * my).sum(-1), (my * my).sum(-1)
    det_sharp = xx * yy - xy * xy
    xx, yy = xx + eps2d, yy + eps2d
    det = xx * yy - xy * xy
    valid = in_range & (det > 0)
    det = torch.where(valid, det, torch.ones_like(det))
    if antialiased:
        opacities = opacities * _sqrt_at_zero(det_sharp / det)
    centers = torch.stack([fx * x / z + cx, fy * y / z + cy], dim=-1)
    conics = torch.stack([yy / det, -xy / det, xx / det], dim=-1)
    with torch.no_grad():
        radii = _radii(centers, xx, yy, opacities, valid, width, height)
    return Ellipses(centers, conics, depths, opacities, radii)


def _sqrt_at_zero(x: Tensor) -> Tensor:
    """Return the square root of max(x, 0), with gradient 0 instead of infinity at x <= 0 (a degenerate Gaussian)."""
    positive = x > 0
    return torch.where(positive, torch.where(positive, x, torch.ones_like(x)).sqrt(), torch.zeros_like(x))


def _radii(
    centers: Tensor, xx: Tensor, yy: Tensor, opacities: Tensor, valid: Tensor, width: int, height: int
) -> Tensor:
    """Return the half-sizes of the boxes outside which opacity is below ALPHA_MIN (Radl et al. 2024, appendix B.2)."""
    seen = valid & (opacities >= ALPHA_MIN)
    reach = (2 * (opacities / ALPHA_MIN).clamp_min(1).log()).sqrt().clamp_max(EXTENT_SIGMAS)
    radii = (reach[:, None] * torch.stack([xx, yy], dim=-1).sqrt()).ceil()
    size = centers.new_tensor([width, height])
    on_image = ((centers + radii > 0) & (centers - radii < size)).all(-1)
    return torch.where((seen & on_image)[:, None], radii, torch.zeros_like(radii))
