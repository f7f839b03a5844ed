"""Surface point of each texel of a head's texture."""

from __future__ import annotations

import torch
from torch import Tensor

from headforge.errors import ConfigError
from headforge.flame.model import HeadModel


def rasterize_uv(model: HeadModel, resolution: int) -> tuple[Tensor, Tensor]:
    """Return triangles [R, R] int64 (-1 where the texture is unused) and barycentrics [R, R, 3] of all texel centres.

    The texel at row i, column j has its centre at u = (j + 0.5) / R, v = 1 - (i + 0.5) / R. A texel on a shared edge
    belongs to the triangle with the smaller id.
    """
    if resolution < 1:
        raise ConfigError("resolution", resolution, f"the texture size is {resolution}.", "give a size of at least 1.")
    size = resolution
    corners = model.uvs.double()[model.uv_faces] * size - 0.5
    low = corners.amin(1).ceil().long().clamp_min(0)
    high = corners.amax(1).floor().long().clamp_max(size - 1)
    extent = (high - low + 1).clamp_min(0)
    counts = extent.prod(-1)
    device = corners.device
    owner = torch.repeat_interleave(torch.arange(len(counts), device=device), counts)
    within = torch.arange(int(counts.sum()), device=device) - torch.repeat_interleave(counts.cumsum(0) - counts, counts)
    x = low[owner, 0] + within % extent[owner, 0]
    y = low[owner, 1] + within // extent[owner, 0]
    weights = _barycentrics(corners[owner], torch.stack([x, y], -1).double())
    inside = (weights.amin(-1) >= -1e-9).nonzero()[:, 0].flip(0)
    face_ids = torch.full((size, size), -1, dtype=torch.int64, device=device)
    barycentrics = torch.zeros(size, size, 3, device=device)
    rows, columns = size - 1 - y[inside], x[inside]
    winner = torch.full((size * size,), -1, dtype=torch.int64, device=device)
    first = torch.full((size * size,), len(counts), dtype=torch.int64, device=device)
    flat = rows * size + columns
    first.scatter_reduce_(0, flat, owner[inside], "amin")
    is_first = owner[inside] == first[flat]
    winner[flat[is_first]] = inside[is_first]
    used = (winner >= 0).nonzero()[:, 0]
    face_ids.view(-1)[used] = owner[winner[used]]
    chosen = weights[winner[used]].clamp_min(0)
    barycentrics.view(-1, 3)[used] = (chosen / chosen.sum(-1, keepdim=True)).float()
    return face_ids, barycentrics


def _barycentrics(corners: Tensor, points: Tensor) -> Tensor:
    """Return barycentrics [N, 3] of points [N, 2] in triangles [N, 3, 2]; a flat triangle gives -1, never NaN."""
    a, b, c = corners.unbind(1)

    def cross(p: Tensor, q: Tensor) -> Tensor:
        return p[:, 0] * q[:, 1] - p[:, 1] * q[:, 0]

    area = cross(b - a, c - a)
    weights = torch.stack(
        [cross(b - points, c - points), cross(c - points, a - points), cross(a - points, b - points)], -1
    )
    return torch.where(area.abs()[:, None] > 1e-12, weights / area[:, None], -torch.ones_like(weights))
