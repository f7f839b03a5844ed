"""Closed-form initialisation of the fit: each view's camera under weak perspective, robust to outliers."""

from __future__ import annotations

import torch
from torch import Tensor

N_REWEIGHTINGS = 6
MEDIAN_TO_SIGMA = 1 / 1.17741
"""The median length of a 2-D Gaussian error is 1.17741 standard deviations (Rayleigh)."""


def weak_perspective(points: Tensor, weights: Tensor, target: Tensor, focal_px: float) -> tuple[Tensor, Tensor]:
    """Return the camera rotation [V, 3, 3] and translation [V, 3] that project `points` [L, 3] to `target` [V, L, 2].

    `target` is in pixels from the principal point, `weights` [V, L] are 0 for hidden points. An affine camera is solved
    by iteratively reweighted least squares; the nearest scaled rotation gives the pose and the scale gives the depth
    for `focal_px`. The result is a proper rotation, and the head is in front of the camera.
    """
    centre = points.mean(0)
    homogeneous = torch.cat([points - centre, torch.ones_like(points[:, :1])], dim=-1)
    # A metre-scale ridge on the 3 directions keeps nearly planar or nearly empty views solvable.
    ridge = 1e-6 * torch.diag(points.new_tensor([1.0, 1.0, 1.0, 1.0]))
    robust = weights.clone()
    affine = target.new_zeros(len(target), 4, 2)
    for _ in range(N_REWEIGHTINGS):
        weighted = homogeneous * robust[..., None]
        normal = weighted.transpose(-1, -2) @ homogeneous + ridge
        affine = torch.linalg.solve(normal, weighted.transpose(-1, -2) @ target)
        distance = (homogeneous @ affine - target).norm(dim=-1)
        scale = 3 * MEDIAN_TO_SIGMA * visible_median(distance, weights)[:, None] + 1e-9
        robust = weights / (1 + (distance / scale).square()).square()
    linear = affine[:, :3].transpose(-1, -2)
    u, singular, vh = torch.linalg.svd(linear, full_matrices=False)
    top = u @ vh
    rotation = torch.cat([top, torch.linalg.cross(top[:, :1], top[:, 1:])], dim=1)
    depth = focal_px / singular.mean(-1).clamp_min(1e-6)
    translation = torch.cat([affine[:, 3] * (depth / focal_px)[:, None], depth[:, None]], dim=-1)
    return rotation, translation - rotation @ centre


def visible_median(values: Tensor, weights: Tensor) -> Tensor:
    """Return the median [*] of `values` [*, L] over the entries with a positive weight."""
    shown = weights > 0
    ordered = torch.where(shown, values, torch.full_like(values, torch.inf)).sort(dim=-1).values
    middle = ((shown.sum(-1) - 1) // 2).clamp_min(0)
    return ordered.gather(-1, middle[..., None])[..., 0]
