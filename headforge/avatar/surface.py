"""Initial skin Gaussians, spread over the head model's triangles."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from headforge.avatar.rig import RiggedGaussians, bound_frames, to_local
from headforge.flame.model import HeadModel
from headforge.geometry.meshes import interpolate_on_faces

DENSITY: Mapping[str, float] = {
    "scalp": 0.6,
    "neck": 0.5,
    "face": 2.0,
    "nose": 2.5,
    "lips": 5.0,
    "left_eyeball": 5.0,
    "right_eyeball": 5.0,
    "teeth": 1.5,
    "mouth_interior": 0.6,
    "tongue": 0.6,
    "left_ear": 1.0,
    "right_ear": 1.0,
}
"""Gaussians per area relative to the rest of the skin; later regions override earlier ones."""
FLATNESS = 0.25
"""Thickness of a new Gaussian across the surface, relative to its size along it."""
SIZE_PER_SPACING = 0.62
"""Standard deviation of a new Gaussian relative to its neighbour distance: enough to close the surface."""
GOLDEN = (0.7548776662466927, 0.5698402909980532)
"""Steps of the R2 low-discrepancy sequence (Roberts 2018)."""


def face_density(head: HeadModel) -> Tensor:
    """Return the relative number of Gaussians per area [F]."""
    density = torch.ones(len(head.faces), device=head.device)
    for name, value in DENSITY.items():
        if name in head.regions:
            density[head.face_mask(name)] = value
    return density


def sample_surface(head: HeadModel, vertices: Tensor, n: int) -> tuple[Tensor, Tensor, Tensor]:
    """Distribute n points over the triangles of vertices [V, 3] with the relative `DENSITY`.

    Returns triangles [n] int64, barycentrics [n, 3] and the distance between neighbours [n] in metres. Deterministic:
    equal steps along the triangles in their order, and in each a low-discrepancy sequence from the centroid on.
    """
    corners = vertices[head.faces]
    area = torch.linalg.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]).norm(dim=-1) / 2
    share = (area * face_density(head)).double()
    ends = share.cumsum(0) / share.sum()
    steps = (torch.arange(n, dtype=torch.float64, device=vertices.device) + 0.5) / n
    binding = torch.searchsorted(ends, steps).clamp_max(len(area) - 1)
    expected = n * share / share.sum()
    spacing = (area / expected.clamp_min(1e-12)).sqrt()[binding].float()
    within = torch.arange(n, device=vertices.device) - torch.searchsorted(binding, binding)
    a, b = ((1 / 3 + within.double() * step) % 1 for step in GOLDEN)
    flip = a + b > 1
    a, b = torch.where(flip, 1 - a, a), torch.where(flip, 1 - b, b)
    return binding, torch.stack([1 - a - b, a, b], dim=-1).float(), spacing


def skin_gaussians(
    head: HeadModel,
    vertices: Tensor,
    n: int,
    sh_degree: int,
    opacity: float = 0.9,
    size_per_spacing: float = SIZE_PER_SPACING,
) -> RiggedGaussians:
    """Return n grey Gaussians lying flat on the surface of vertices [V, 3]."""
    binding, barycentrics, spacing = sample_surface(head, vertices, n)
    frames = bound_frames(vertices, head.faces, binding)
    points = interpolate_on_faces(vertices, head.faces, binding, barycentrics)
    size = (size_per_spacing * spacing / frames.scale).clamp_min(1e-3).log()
    log_scales = size[:, None].repeat(1, 3)
    log_scales[:, 1] += math.log(FLATNESS)  # the frame's second axis is the normal
    return RiggedGaussians(
        model_id=head.model_id,
        binding=binding,
        means=to_local(points, frames),
        log_scales=log_scales,
        quats=points.new_tensor([1.0, 0, 0, 0]).repeat(n, 1),
        opacity_logits=points.new_full((n,), math.log(opacity / (1 - opacity))),
        sh=points.new_zeros(n, (sh_degree + 1) ** 2, 3),
        is_free=torch.zeros_like(binding, dtype=torch.bool),
    )
