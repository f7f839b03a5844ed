"""Volume rendering along rays: stratified samples, importance samples, mid-point compositing.

Source: EG3D (Chan et al. 2022), as PanoHead and SphereHead use it. All random numbers are arguments.
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
"""Margin at the cube's sides +-x and +-z that is cropped: the official renderer's `triplane_crop`."""
EMPTY = -1e3
"""Raw density of the cropped region."""
PROBABILITY_FLOOR = 0.01
PROBABILITY_EPSILON = 1e-5
TRANSMITTANCE_EPSILON = 1e-10
CHUNK = 4096
"""Rays per chunk."""

Field = Callable[[Tensor], tuple[Tensor, Tensor]]
"""Features [M, C] and raw density [M] of points [M, 3]."""


@dataclass(frozen=True)
class RaySettings:
    """Depth range and sample counts along a ray."""

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
    """Rendering result of the rays of one view."""

    features: Tensor
    """[R, C] composited, premultiplied by opacity."""
    depth: Tensor
    """[R] along the unit-length ray, in the generator's units."""
    opacity: Tensor
    """[R]."""


def draw_jitter(seed: int, subject: int, view: int, n_rays: int, settings: RaySettings) -> Jitter:
    """Return the jitter of one view, on the CPU: a function of (seed, subject, view)."""
    rng = np.random.default_rng(item_seed(seed, "ray jitter", subject, view))
    coarse = rng.random((n_rays, settings.n_coarse), dtype=np.float32)
    fine = rng.random((n_rays, settings.n_fine), dtype=np.float32)
    return Jitter(torch.from_numpy(coarse), torch.from_numpy(fine))


def camera_rays(camera: Camera) -> tuple[Tensor, Tensor, Tensor]:
    """Return the origin [3], unit directions [H * W, 3] in row order, and the ratio [H * W] of ray depth to z-depth.

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
    """Render rays from `origin` [3] along `directions` [R, 3] through a field.

    Depths are clamped to the view's first and last sample: a ray that hits nothing has the last one's.
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
    """Return the features, depth and opacity of some rays, and the depths of their first and last samples."""
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
    """Return depths [R, N], one per step from near to one beyond far, each shifted by its fraction of a step."""
    n = uniforms.shape[-1]
    steps = torch.linspace(settings.near, settings.far, n, device=uniforms.device)
    return steps + uniforms * ((settings.far - settings.near) / (n - 1))


def mid_weights(densities: Tensor, depths: Tensor) -> Tensor:
    """Return the compositing weight [R, N - 1] of each interval, from raw densities and depths [R, N]."""
    middle = functional.softplus((densities[..., 1:] + densities[..., :-1]) / 2 - 1)
    alpha = 1 - torch.exp(-middle * depths.diff(dim=-1))
    passed = torch.cat([torch.ones_like(alpha[..., :1]), 1 - alpha + TRANSMITTANCE_EPSILON], dim=-1)
    return alpha * passed.cumprod(-1)[..., :-1]


def composite(
    features: Tensor, densities: Tensor, depths: Tensor, is_over_white: bool = False
) -> tuple[Tensor, Tensor, Tensor]:
    """Composite samples [R, N, C], [R, N], [R, N] to features [R, C], depth [R] (NaN without a hit) and opacity [R]."""
    weights = mid_weights(densities, depths)
    middle = (features[:, 1:] + features[:, :-1]) / 2
    opacity = weights.sum(-1)
    seen = (weights[:, None] @ middle)[:, 0]
    depth = (weights * (depths[:, 1:] + depths[:, :-1]) / 2).sum(-1) / opacity
    return seen + (1 - opacity[:, None]) if is_over_white else seen, depth, opacity


def importance_depths(depths: Tensor, weights: Tensor, uniforms: Tensor) -> Tensor:
    """Sample depths [R, K] from weights [R, N - 1] between depths [R, N], by uniforms [R, K].

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
