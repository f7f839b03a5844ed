"""The readable splatting backend: torch operations on (Gaussian, pixel) pairs, any device, any float type.

The reference that the other backends are tested against. Memory grows with the number of pairs (about 200 bytes for
each pixel in each Gaussian's box).
"""

from __future__ import annotations

import torch
from torch import Tensor

from headforge.render.pixels import pixels_in_boxes
from headforge.render.projection import ALPHA_CAP, ALPHA_MIN, TRANSMITTANCE_STOP, Ellipses, project_gaussians
from headforge.render.splatting.scene import SplatScene


def render(scene: SplatScene) -> tuple[Tensor, Tensor]:
    """Render image [B, M, H, W, C (+1 with depth)] and alpha [B, M, H, W, 1]."""
    images, alphas = [], []
    for b in range(scene.n_scenes):
        for m in range(scene.n_cameras):
            image, alpha = _render_one(scene, b, m)
            images.append(image)
            alphas.append(alpha)
    shape = (scene.n_scenes, scene.n_cameras)
    return torch.stack(images).unflatten(0, shape), torch.stack(alphas).unflatten(0, shape)


def _render_one(scene: SplatScene, b: int, m: int) -> tuple[Tensor, Tensor]:
    view = scene.view(b, m)
    ellipses = project_gaussians(
        view.means, view.quats, view.scales, view.opacities, view.viewmat, view.K, scene.width, scene.height,
        eps2d=scene.eps2d, near_plane=scene.near_plane, antialiased=scene.antialiased,
    )  # fmt: skip
    colors = view.colors
    if scene.with_depth:
        colors = torch.cat([colors, ellipses.depths[:, None]], dim=-1)
    with torch.no_grad():
        gaussian, pixel = _contributions(ellipses, scene.width, scene.height)
    alphas = _alphas(ellipses, gaussian, pixel, scene.width)
    before = _transmittance_before(alphas, pixel)
    weights = alphas * before
    n_pixels = scene.width * scene.height
    image = colors.new_zeros(n_pixels, colors.shape[-1]).index_add(0, pixel, weights[:, None] * colors[gaussian])
    alpha = weights.new_zeros(n_pixels).index_add(0, pixel, weights)
    if view.background is not None:
        background = view.background
        if scene.with_depth:
            background = torch.cat([background, background.new_zeros(1)])
        image = image + (1 - alpha)[:, None] * background
    return image.reshape(scene.height, scene.width, -1), alpha.reshape(scene.height, scene.width, 1)


def _contributions(ellipses: Ellipses, width: int, height: int) -> tuple[Tensor, Tensor]:
    """Return the contributing (Gaussian, pixel) pairs, each [P], by pixel and then from front to back.

    Their number depends on the values; on the device `meta`, which has none, there is one pair per Gaussian, so that
    the remaining computation is the same as on other devices.
    """
    order = torch.argsort(ellipses.depths, stable=True)
    if order.is_meta:
        return order, torch.zeros_like(order)
    order = order[ellipses.radii[order, 0] > 0]
    centers, radii = ellipses.centers[order], ellipses.radii[order]
    everything = torch.ones_like(order, dtype=torch.bool)
    box, column, row = pixels_in_boxes(centers - radii, centers + radii, everything, width, height)
    gaussian, pixel = order[box], row * width + column
    alphas = _alphas(ellipses, gaussian, pixel, width)
    seen = alphas >= ALPHA_MIN
    gaussian, pixel, alphas = gaussian[seen], pixel[seen], alphas[seen]
    by_pixel = torch.argsort(pixel, stable=True)
    gaussian, pixel, alphas = gaussian[by_pixel], pixel[by_pixel], alphas[by_pixel]
    after = _transmittance_before(alphas, pixel) * (1 - alphas)
    lit = after > TRANSMITTANCE_STOP
    return gaussian[lit], pixel[lit]


def _alphas(ellipses: Ellipses, gaussian: Tensor, pixel: Tensor, width: int) -> Tensor:
    """Return the opacity [P] of each pair, at most ALPHA_CAP; zero where rounding made the exponent positive."""
    row = torch.div(pixel, width, rounding_mode="floor")
    column = pixel - row * width
    centers, conics = ellipses.centers[gaussian], ellipses.conics[gaussian]
    dx = centers[:, 0] - (column + 0.5)
    dy = centers[:, 1] - (row + 0.5)
    sigma = 0.5 * (conics[:, 0] * dx * dx + conics[:, 2] * dy * dy) + conics[:, 1] * dx * dy
    alphas = (ellipses.opacities[gaussian] * torch.exp(-sigma)).clamp_max(ALPHA_CAP)
    return torch.where(sigma >= 0, alphas, torch.zeros_like(alphas))


def _transmittance_before(alphas: Tensor, pixel: Tensor) -> Tensor:
    """Return the transmittance [P] before each pair: the product of (1 - alpha) over the pixel's earlier pairs.

    Computed by one running sum of logarithms over all pixels, in float64 to keep precision over its length.
    """
    logs = torch.log1p(-alphas.double())
    before = logs.cumsum(0) - logs
    is_first = torch.ones_like(pixel, dtype=torch.bool)
    is_first[1:] = pixel[1:] != pixel[:-1]
    places = torch.arange(len(pixel), device=pixel.device)
    start = torch.where(is_first, places, 0).cummax(0).values
    return (before - before[start]).exp().to(alphas.dtype)
