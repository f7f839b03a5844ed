"""Rendering of an avatar."""

from __future__ import annotations

import torch
from torch import Tensor

from headforge.avatar.rig import RiggedGaussians
from headforge.avatar.views import WHITE, render_cloud
from headforge.flame.model import HeadModel
from headforge.types import Camera, HeadParams


@torch.no_grad()
def render_avatar(
    avatar: RiggedGaussians, head: HeadModel, params: HeadParams, camera: Camera, background: float = WHITE
) -> Tensor:
    """Render an image [H, W, 3] in [0, 1] of the avatar in the pose `params` by `camera`, both unbatched.

    The Gaussians hold the subject's differences from the mean head except its shape coefficients, which `params` holds.
    """
    cloud = avatar.posed(head, params, camera.centre)
    return render_cloud(cloud, camera, background).clamp(0, 1)


def to_uint8(image: Tensor) -> Tensor:
    """Convert [..., 3] in [0, 1] to uint8, rounded."""
    return (image * 255).round().clamp(0, 255).to(torch.uint8)
