"""Synthetic landmark scenes with ground truth."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from headforge.flame.model import HeadModel, landmarks, pose_head
from headforge.geometry.cameras import orbit_camera, project
from headforge.types import Camera, HeadParams


@dataclass(frozen=True)
class Scene:
    """Landmarks [V, 68, 2] in pixels, weights [V, 68], and the exact values behind them."""

    camera: Camera
    params: HeadParams
    points: Tensor
    weights: Tensor
    outliers: Tensor


def make_scene(
    head: HeadModel,
    *,
    n_views: int = 12,
    size: int = 256,
    noise_px: float = 0.0,
    hidden: float = 0.0,
    outliers: float = 0.0,
    seed: int = 0,
    yaw_max_deg: float = 60.0,
) -> Scene:
    """A subject seen from random sides with its own expression and jaw in each view."""
    generator = torch.Generator().manual_seed(seed)

    def uniform(*shape: int) -> Tensor:
        return torch.rand(*shape, generator=generator)

    camera = orbit_camera(
        (2 * uniform(n_views) - 1) * yaw_max_deg, uniform(n_views) * 75 - 30,
        distance_m=1.1, focal_px=2.4 * size, width=size, height=size,
    )  # fmt: skip
    params = head.neutral((n_views,)).replace(
        shape=torch.randn(head.n_shape, generator=generator).expand(n_views, -1),
        expr=0.7 * torch.randn(n_views, head.n_expr, generator=generator),
        jaw=uniform(n_views, 3) * torch.tensor([0.3, 0.02, 0.02]),
    )
    pixels, _ = project(camera, landmarks(head, pose_head(head, params)))
    points = pixels.double() + noise_px * torch.randn(pixels.shape, generator=generator, dtype=torch.float64)
    weights = (uniform(n_views, 68) >= hidden).double()
    wrong = uniform(n_views, 68) < outliers
    gross = 0.06 * size * torch.randn(pixels.shape, generator=generator, dtype=torch.float64)
    return Scene(camera, params, points + gross * wrong[..., None], weights, wrong)
