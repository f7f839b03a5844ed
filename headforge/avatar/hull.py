"""Hair outside the head model: the visual hull of the masks, carved from a grid around scalp and neck."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from headforge.avatar.rig import RiggedGaussians, bound_frames, to_local
from headforge.avatar.views import View
from headforge.flame.model import HeadModel
from headforge.geometry.cameras import project
from headforge.geometry.meshes import face_normals, similarity_alignment

CELL_M = 0.006
"""Edge of a grid cell."""
N_LAYERS = 2
"""Depth in cells of the hull's outer layer that is filled with Gaussians; deeper cells are invisible."""
ABOVE_SURFACE_M = 0.003
ABOVE_FACE_M = 0.010
"""Least height of hair above the surface; larger above the face, which moves."""
INSIDE = 0.95
"""Least mask coverage of a foreground pixel."""
MIN_SEEN = 0.6
"""Least share of the views with a point in the picture for the masks to constrain it."""
SIZE_PER_CELL = 0.4
HAIR_OPACITY = 0.7
CHUNK = 8192


@dataclass(frozen=True)
class HeadSpace:
    """The grid's frame: the rest pose, to which scalp and neck of every view are aligned rigidly."""

    vertices: Tensor
    """[V, 3] rest pose."""
    anchors: Tensor
    """[F] bool: triangles that hair may be bound to."""


def head_space(head: HeadModel, vertices: Tensor) -> HeadSpace:
    """Return the grid's frame, anchored to the triangles of scalp and neck (without them, to all but the face's)."""
    anchors = head.face_mask("scalp", "neck")
    if not anchors.any():
        anchors = ~head.face_mask("face")
    return HeadSpace(vertices, anchors)


def carve(points: Tensor, views: Sequence[View], space: HeadSpace, head: HeadModel) -> Tensor:
    """Return [N] bool: points [N, 3] of the rest pose inside the mask of every view that has them in the picture.

    A point in the picture of less than the share `MIN_SEEN` of the views is not kept.
    """
    kept = torch.arange(len(points), device=points.device)
    n_seen = torch.zeros(len(points), dtype=torch.int64, device=points.device)
    rigid = head.faces[space.anchors].unique()
    for view in views:
        _, rotation, translation = similarity_alignment(space.vertices[rigid], view.vertices[rigid])
        pixels, depth = project(view.camera, points[kept] @ rotation.T + translation)
        x, y = pixels.floor().long().unbind(-1)
        seen = (depth > 0) & (x >= 0) & (y >= 0) & (x < view.camera.width) & (y < view.camera.height)
        inside = torch.ones_like(kept, dtype=torch.bool)
        inside[seen] = view.mask[y[seen], x[seen]] >= INSIDE
        n_seen[kept] += seen
        kept = kept[inside]
    keep = torch.zeros(len(points), dtype=torch.bool, device=points.device)
    keep[kept] = True
    return keep & (n_seen >= max(1.0, MIN_SEEN * len(views)))


def grid_around(vertices: Tensor, margin_m: float, cell_m: float = CELL_M) -> Tensor:
    """Return cell centres [X, Y, Z, 3] of the box around vertices [V, 3] with a margin."""
    low, high = vertices.amin(0) - margin_m, vertices.amax(0) + margin_m
    axes = [
        torch.arange(math.ceil(float(b - a) / cell_m), device=vertices.device) * cell_m + a
        for a, b in zip(low, high, strict=True)
    ]
    return torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1)


def outer_layers(filled: Tensor, n_layers: int) -> Tensor:
    """Return the mask [X, Y, Z] bool of filled cells within n_layers of an empty cell or of the grid's border."""
    inner = filled
    for _ in range(n_layers):
        padded = torch.nn.functional.pad(inner, (1, 1, 1, 1, 1, 1))
        x, y, z = inner.shape
        neighbours = [padded[a : a + x, b : b + y, c : c + z]
                      for a, b, c in ((0, 1, 1), (2, 1, 1), (1, 0, 1), (1, 2, 1), (1, 1, 0), (1, 1, 2))]  # fmt: skip
        inner = inner & torch.stack(neighbours).all(0)
    return filled & ~inner


def nearest_triangles(points: Tensor, centroids: Tensor) -> tuple[Tensor, Tensor]:
    """Return distance [N] and index [N] of the nearest centroid for each point."""
    parts = [torch.cdist(chunk, centroids).min(dim=-1) for chunk in points.split(CHUNK)]
    return torch.cat([p.values for p in parts]), torch.cat([p.indices for p in parts])


def hair_points(head: HeadModel, space: HeadSpace, views: Sequence[View], shell_m: float) -> tuple[Tensor, Tensor]:
    """Return candidate hair points [N, 3] of the rest pose inside all masks, and the triangle [N] of each."""
    grid = grid_around(space.vertices[head.faces[space.anchors].unique()], shell_m)
    filled = carve(grid.reshape(-1, 3), views, space, head).reshape(grid.shape[:3])
    points = grid[outer_layers(filled, N_LAYERS)]
    centroids, normals = space.vertices[head.faces].mean(1), face_normals(space.vertices, head.faces)
    _, nearest = nearest_triangles(points, centroids)
    height = ((points - centroids[nearest]) * normals[nearest]).sum(-1)
    points = points[height > torch.where(head.face_mask("face")[nearest], ABOVE_FACE_M, ABOVE_SURFACE_M)]
    anchor_ids = space.anchors.nonzero()[:, 0]
    distance, index = nearest_triangles(points, centroids[anchor_ids])
    near = distance <= shell_m
    return points[near], anchor_ids[index[near]]


def hair_gaussians(
    head: HeadModel, vertices: Tensor, views: Sequence[View], n_max: int, shell_m: float, sh_degree: int, seed: int
) -> RiggedGaussians:
    """Return at most n_max grey Gaussians in the hull around the rest pose vertices [V, 3]."""
    space = head_space(head, vertices)
    points, binding = hair_points(head, space, views, shell_m)
    size_m = CELL_M
    if len(points) > n_max:
        size_m *= math.sqrt(len(points) / max(n_max, 1))
        chosen = torch.from_numpy(np.sort(np.random.default_rng(seed).permutation(len(points))[:n_max]))
        chosen = chosen.to(points.device)
        points, binding = points[chosen], binding[chosen]
    return free_gaussians(head, vertices, points, binding, SIZE_PER_CELL * size_m, sh_degree)


def free_gaussians(
    head: HeadModel, vertices: Tensor, points: Tensor, binding: Tensor, size_m: Tensor | float, sh_degree: int
) -> RiggedGaussians:
    """Return isotropic grey hair Gaussians of standard deviation size_m at points [N, 3], bound to triangles [N]."""
    frames = bound_frames(vertices, head.faces, binding)
    n = len(points)
    size = size_m if isinstance(size_m, Tensor) else frames.scale.new_tensor(size_m)
    log_scales = (size / frames.scale).log()
    return RiggedGaussians(
        model_id=head.model_id,
        binding=binding,
        means=to_local(points, frames),
        log_scales=log_scales[:, None].repeat(1, 3),
        quats=points.new_tensor([1.0, 0, 0, 0]).repeat(n, 1),
        opacity_logits=points.new_full((n,), math.log(HAIR_OPACITY / (1 - HAIR_OPACITY))),
        sh=points.new_zeros(n, (sh_degree + 1) ** 2, 3),
        is_free=torch.ones_like(binding, dtype=torch.bool),
    )
