"""The CUDA splatting backend: gsplat's packed rasterization with absolute gradients for densification."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from headforge.errors import MissingExtraError
from headforge.render.projection import FAR_PLANE_M
from headforge.render.splatting.scene import SplatScene


def render(scene: SplatScene) -> tuple[Tensor, Tensor, dict[str, Any]]:
    """Render image [B, M, H, W, C (+1 with depth)] and alpha [B, M, H, W, 1]; return gsplat's densification info too.

    CUDA tensors only; the caller checks.
    """
    try:
        from gsplat import rasterization  # pyright: ignore[reportMissingImports]  # installed by the extra `gpu` only
    except ImportError as error:
        raise MissingExtraError("gsplat", "gpu", "splatting CUDA tensors") from error
    b, m, n = scene.n_scenes, scene.n_cameras, scene.n_gaussians
    # gsplat does not accept zero Gaussians.
    if n == 0:
        return (*_background(scene), {})
    colors = scene.colors.expand(b, m, n, -1).contiguous()
    if scene.with_depth:
        mode = "RGB+D" if colors.shape[-1] else "D"
    else:
        mode = "RGB"
    image, alpha, info = rasterization(
        scene.means.expand(b, n, 3).contiguous(),
        scene.quats.expand(b, n, 4).contiguous(),
        scene.scales.expand(b, n, 3).contiguous(),
        scene.opacities.expand(b, n).contiguous(),
        colors,
        scene.viewmats.contiguous(),
        scene.Ks.contiguous(),
        scene.width,
        scene.height,
        near_plane=scene.near_plane,
        far_plane=FAR_PLANE_M,
        eps2d=scene.eps2d,
        packed=True,
        absgrad=True,
        backgrounds=scene.backgrounds,
        render_mode=mode,
        rasterize_mode="antialiased" if scene.antialiased else "classic",
    )
    return image, alpha, info


def _background(scene: SplatScene) -> tuple[Tensor, Tensor]:
    shape = (scene.n_scenes, scene.n_cameras, scene.height, scene.width)
    image = scene.means.new_zeros(*shape, scene.n_channels)
    if scene.backgrounds is not None:
        padding = scene.backgrounds.new_zeros(*scene.backgrounds.shape[:-1], int(scene.with_depth))
        image = image + torch.cat([scene.backgrounds, padding], dim=-1)[:, :, None, None]
    return image, scene.means.new_zeros(*shape, 1)
