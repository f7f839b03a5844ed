"""Volume rendering along rays: stratified samples, importance samples, mid-point compositing.

Source: EG3D (Chan et al. 2022), as PanoHead and SphereHead use it. All random numbers come in from outside.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from headforge.geometry.seeding import item_seed
from headforge.types import Camera

CROP = 0.1
"""Nothing is seen nearer than this to the cube's sides at +-x and +-z: the official renderer's `triplane_crop`."""
EMPTY = -1e3
"""Raw density of what is cropped."""
PROBABILITY_FLOOR = 0.01
PROBABILITY_EPSILON = 1e-5
TRANSMITTANCE_EPSILON = 1e-10
CHUNK = 4096
"""Rays at a time."""

Field = Callable[[Tensor], tuple[Tensor, Tensor]]
"""Features [M, C] and raw density [M] of points [M, 3]."""


@dataclass(frozen=True)
class RaySettings:
    """How far along a ray is looked, and how often."""

    near: float
    far: float
    n_coarse: int
    n_fine: int
    box_warp: float
    """Side of the modelled cube."""
    is_over_white: bool = False


@dataclass(frozen=True)
class Jitter:
    """The random numbers of one view, uniform in [0, 1)."""

    coarse: Tensor
    """[R, n_coarse]."""
    fine: Tensor
    """[R, n_fine]."""

    def to(self, device: torch.device | str) -> Jitter:
        """Return the same numbers on `device`."""
        return Jitter(self.coarse.to(device), self.fine.to(device))


@dataclass(frozen=True)
class Seen:
    """What the rays of one view saw."""

    features: Tensor
    """[R, C] composited, premultiplied by opacity."""
    depth: Tensor
    """[R] along the ray of unit length, in the generator's units."""
    opacity: Tensor
    """[R]."""


def draw_jitter(seed: int, subject: int, view: int, n_rays: int, settings: RaySettings) -> Jitter:
    """Return the jitter of one view, on the CPU: a function of (seed, subject, view)."""
    rng = np.random.default_rng(item_seed(seed, "ray jitter", subject, view))
    coarse = rng.random((n_rays, settings.n_coarse), dtype=np.float32)
    fine = rng.random((n_rays, settings.n_fine), dtype=np.float32)
    return Jitter(torch.from_numpy(coarse), torch.from_numpy(fine))


def camera_rays(camera: Camera) -> tuple[Tensor, Tensor, Tensor]:
    """Return origin [3], unit directions [H * W, 3] row by row, and the ratio [H * W] of ray depth to z-depth.

    `camera` is unbatched, in the generator's units; rays go through pixel centres.
    """
    device = camera.K.device
    rows = torch.arange(camera.height, dtype=torch.float32, device=device) + 0.5
    columns = torch.arange(camera.width, dtype=torch.float32, device=device) + 0.5
    v, u = torch.meshgrid(rows, columns, indexing="ij")
    pixels = torch.stack([u, v, torch.ones_like(u)], dim=-1).reshape(-1, 3)
    local = pixels @ torch.linalg.inv(camera.K.double()).T.to(pixels)
    stretch = local.norm(dim=-1)
    return camera.centre, local @ camera.viewmat[:3, :3] / stretch[:, None], stretch


def render_rays(field: Field, origin: Tensor, directions: Tensor, jitter: Jitter, settings: RaySettings) -> Seen:
    """Return what rays from `origin` [3] along `directions` [R, 3] see of a field.

    Depths are held between the first and the last sample of the view: a ray that meets nothing has the last one's.
    """
    parts = [
        _render(field, origin, directions[first : first + CHUNK], Jitter(*(
            values[first : first + CHUNK] for values in (jitter.coarse, jitter.fine)
        )), settings)
        for first in range(0, len(directions), CHUNK)
    ]  # fmt: skip
    features, depth, opacity = (torch.cat([part[i] for part in parts]) for i in range(3))
    first = torch.stack([part[3] for part in parts]).amin().detach()
    last = torch.stack([part[4] for part in parts]).amax().detach()
    return Seen(features, torch.where(depth.isnan(), last, depth).clamp(first, last), opacity)


def _render(
    field: Field, origin: Tensor, directions: Tensor, jitter: Jitter, settings: RaySettings
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Return features, depth and opacity of some rays, and their first and last sample's depth."""
    depths = stratified_depths(jitter.coarse, settings)
    features, densities = _look(field, origin, directions, depths, settings)
    if settings.n_fine:
        found = importance_depths(depths, mid_weights(densities, depths).detach(), jitter.fine)
        fine_features, fine_densities = _look(field, origin, directions, found, settings)
        depths, order = torch.cat([depths, found], dim=-1).sort(dim=-1)
        densities = torch.cat([densities, fine_densities], dim=-1).gather(-1, order)
        joined = torch.cat([features, fine_features], dim=-2)
        features = joined.gather(-2, order[..., None].expand(joined.shape))
    return (*composite(features, densities, depths, settings.is_over_white), depths.min(), depths.max())


def _look(
    field: Field, origin: Tensor, directions: Tensor, depths: Tensor, settings: RaySettings
) -> tuple[Tensor, Tensor]:
    """Return features [R, N, C] and raw densities [R, N] at depths [R, N] along rays."""
    points = origin + depths[..., None] * directions[:, None]
    features, densities = field(points.reshape(-1, 3))
    limit = settings.box_warp / 2 - CROP
    is_inside = (points[..., [0, 2]].abs() <= limit).all(-1)
    densities = torch.where(is_inside, densities.reshape(depths.shape), EMPTY)
    return features.reshape(*depths.shape, -1), densities


def stratified_depths(uniforms: Tensor, settings: RaySettings) -> Tensor:
    """Return [R, N] depths, one a step from near to a step beyond far, each moved forward by its share of a step."""
    n = uniforms.shape[-1]
    steps = torch.linspace(settings.near, settings.far, n, device=uniforms.device)
    return steps + uniforms * ((settings.far - settings.near) / (n - 1))


def mid_weights(densities: Tensor, depths: Tensor) -> Tensor:
    """Return [R, N - 1] share of each interval in what a ray sees, from raw densities and depths [R, N]."""
    middle = functional.softplus((densities[..., 1:] + densities[..., :-1]) / 2 - 1)
    alpha = 1 - torch.exp(-middle * depths.diff(dim=-1))
    passed = torch.cat([torch.ones_like(alpha[..., :1]), 1 - alpha + TRANSMITTANCE_EPSILON], dim=-1)
    return alpha * passed.cumprod(-1)[..., :-1]


def composite(
    features: Tensor, densities: Tensor, depths: Tensor, is_over_white: bool = False
) -> tuple[Tensor, Tensor, Tensor]:
    """Return features [R, C], depth [R] (NaN where nothing is met) and opacity [R] of samples [R, N, C], [R, N], [R,
    N].
    """
    weights = mid_weights(densities, depths)
    middle = (features[:, 1:] + features[:, :-1]) / 2
    opacity = weights.sum(-1)
    seen = (weights[:, None] @ middle)[:, 0]
    depth = (weights * (depths[:, 1:] + depths[:, :-1]) / 2).sum(-1) / opacity
    return seen + (1 - opacity[:, None]) if is_over_white else seen, depth, opacity


def importance_depths(depths: Tensor, weights: Tensor, uniforms: Tensor) -> Tensor:
    """Return [R, K] depths drawn where weights [R, N - 1] between depths [R, N] are large, by uniforms [R, K].

    The weights are widened and averaged over neighbours. As in the official code the last interval is never drawn.
    """
    wide = functional.max_pool1d(weights[:, None], 2, 1, padding=1)
    likely = functional.avg_pool1d(wide, 2, 1)[:, 0, 1:-1] + PROBABILITY_FLOOR + PROBABILITY_EPSILON
    cumulated = functional.pad((likely / likely.sum(-1, keepdim=True)).cumsum(-1), (1, 0))
    edges = (depths[:, 1:] + depths[:, :-1]) / 2
    above = torch.searchsorted(cumulated, uniforms.contiguous(), right=True)
    below = (above - 1).clamp_min(0)
    above = above.clamp_max(cumulated.shape[-1] - 1)
    low, high = cumulated.gather(-1, below), cumulated.gather(-1, above)
    span = torch.where(high - low < PROBABILITY_EPSILON, 1.0, high - low)
    near, far = edges.gather(-1, below), edges.gather(-1, above)
    return near + (uniforms - low) / span * (far - near)
