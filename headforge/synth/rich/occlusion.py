"""Share of light that reaches skin and hair: shadows of the head, thickness of hair, cavities of the face."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
import torch

from headforge.flame.builtin.field import gradient, head_distance
from headforge.flame.builtin.head import builtin_head
from headforge.geometry.cameras import look_at
from headforge.render.jit import kernel
from headforge.render.mesh import nearest_faces
from headforge.synth.people.lighting import N_DIRECTIONS, Light, sphere_directions
from headforge.synth.rich.hair.strands import Strands

_MAP_PIXELS = 128
_MAP_RADIUS_M = 0.24
_BIAS_M = 0.0025
VOXEL_M = 0.007
_GRID_CELLS = (44, 56, 48)
GRID_LOW_M = np.array([-0.154, -0.225, -0.168])
_ABSORPTION_M2 = 2.2e-4
"""Cross section of a metre of hair: a ray through a voxel loses 1 - exp(-this * length / area)."""
_KEY_POWER = 10.0
"""Concentration of the directions that represent the key light about it."""


@dataclass(frozen=True)
class Occluders:
    """Geometry that blocks light."""

    depth: np.ndarray
    """[K, S, S] float32 nearness of the surface seen from each light direction."""
    axes: np.ndarray
    """[K, 3, 3] rows right, down and towards the scene of each direction."""
    hair: np.ndarray
    """[nx, ny, nz] float32 optical thickness per voxel."""


def make_occluders(vertices: np.ndarray, faces: np.ndarray, hair: Strands | None) -> Occluders:
    """Return the occluders of a mesh [V, 3] float32, [F, 3] int64 and of the hairs."""
    directions = sphere_directions(N_DIRECTIONS)
    up = torch.tensor([0.02, 0.9, 0.1])
    axes = look_at(directions, torch.zeros_like(directions), up)[:, :3, :3].numpy()
    scale = _MAP_PIXELS / 2 / _MAP_RADIUS_M
    maps = []
    for axis in axes:
        local = vertices @ axis.T
        xy = np.ascontiguousarray(local[:, :2] * scale + _MAP_PIXELS / 2, np.float32)
        nearness = (1.0 - local[:, 2]).astype(np.float32)
        maps.append(nearest_faces(xy, nearness, faces, _MAP_PIXELS, _MAP_PIXELS)[1])
    grid = np.zeros(_GRID_CELLS, np.float32)
    if hair is not None:
        _fill(hair.points, grid)
        grid *= _ABSORPTION_M2 / VOXEL_M**2
    return Occluders(np.stack(maps), np.ascontiguousarray(axes, dtype=np.float32), grid)


def light_shares(
    light: Light, occluders: Occluders, points: np.ndarray, normals: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray]:
    """Return shares [P, 3] of the light and [P] of the key light that reach `points` [P, 3] float32.

    With `normals` [P, 3] the directions count by their cosine, as for a surface; without, all count alike, as for a
    hair.
    """
    directions = sphere_directions(N_DIRECTIONS).numpy()
    key = (directions @ light.key_direction.numpy()).clip(0) ** _KEY_POWER
    weights = np.concatenate([light.radiance.numpy(), key[:, None] / key.sum()], 1).astype(np.float32)
    out = np.zeros((len(points), 4), np.float32)
    facing = np.zeros((0, 3), np.float32) if normals is None else np.ascontiguousarray(normals, np.float32)
    _gather_light(np.ascontiguousarray(points, np.float32), facing, directions, weights, occluders.depth,
                  occluders.axes, occluders.hair, out)  # fmt: skip
    return out[:, :3], out[:, 3]


@kernel(error_model="numpy")
def _fill(points, grid):
    """Add each hair's length in metres to the voxels it passes."""
    for s in range(points.shape[0]):
        for k in range(points.shape[1] - 1):
            length = 0.0
            for c in range(3):
                length += (points[s, k + 1, c] - points[s, k, c]) ** 2
            i = int((0.5 * (points[s, k, 0] + points[s, k + 1, 0]) - GRID_LOW_M[0]) / VOXEL_M)
            j = int((0.5 * (points[s, k, 1] + points[s, k + 1, 1]) - GRID_LOW_M[1]) / VOXEL_M)
            m = int((0.5 * (points[s, k, 2] + points[s, k + 1, 2]) - GRID_LOW_M[2]) / VOXEL_M)
            if 0 <= i < grid.shape[0] and 0 <= j < grid.shape[1] and 0 <= m < grid.shape[2]:
                grid[i, j, m] += np.sqrt(length)


@kernel(error_model="numpy")
def _gather_light(points, normals, directions, weights, depth, axes, hair, out):
    size = depth.shape[1]
    scale = size / 2 / _MAP_RADIUS_M
    for p in range(len(points)):
        x, y, z = points[p, 0], points[p, 1], points[p, 2]
        got0, got1, got2, key = 0.02, 0.02, 0.02, 0.0
        all0, all1, all2, all_key = 0.02, 0.02, 0.02, 1e-4
        for d in range(len(directions)):
            cosine = 0.6
            if len(normals) > 0:
                cosine = (
                    normals[p, 0] * directions[d, 0]
                    + normals[p, 1] * directions[d, 1]
                    + normals[p, 2] * directions[d, 2]
                )
                if cosine <= 0:
                    continue
            seen = 0.0
            u = (x * axes[d, 0, 0] + y * axes[d, 0, 1] + z * axes[d, 0, 2]) * scale + size / 2 - 0.5
            v = (x * axes[d, 1, 0] + y * axes[d, 1, 1] + z * axes[d, 1, 2]) * scale + size / 2 - 0.5
            nearness = 1.0 - (x * axes[d, 2, 0] + y * axes[d, 2, 1] + z * axes[d, 2, 2]) + _BIAS_M
            i, j = min(max(int(v), 0), size - 2), min(max(int(u), 0), size - 2)
            a, b = min(max(v - i, 0.0), 1.0), min(max(u - j, 0.0), 1.0)
            if depth[d, i, j] < nearness:
                seen += (1 - a) * (1 - b)
            if depth[d, i, j + 1] < nearness:
                seen += (1 - a) * b
            if depth[d, i + 1, j] < nearness:
                seen += a * (1 - b)
            if depth[d, i + 1, j + 1] < nearness:
                seen += a * b
            if seen > 0:
                thickness = 0.0
                for step in range(14):
                    t = (0.8 + step) * VOXEL_M
                    gi = int((x + t * directions[d, 0] - GRID_LOW_M[0]) / VOXEL_M)
                    gj = int((y + t * directions[d, 1] - GRID_LOW_M[1]) / VOXEL_M)
                    gk = int((z + t * directions[d, 2] - GRID_LOW_M[2]) / VOXEL_M)
                    if 0 <= gi < hair.shape[0] and 0 <= gj < hair.shape[1] and 0 <= gk < hair.shape[2]:
                        thickness += hair[gi, gj, gk]
                    if thickness > 5:
                        break
                seen *= np.exp(-thickness)
            all0 += cosine * weights[d, 0]
            all1 += cosine * weights[d, 1]
            all2 += cosine * weights[d, 2]
            all_key += weights[d, 3]
            got0 += cosine * weights[d, 0] * seen
            got1 += cosine * weights[d, 1] * seen
            got2 += cosine * weights[d, 2] * seen
            key += weights[d, 3] * seen
        out[p, 0], out[p, 1], out[p, 2] = got0 / all0, got1 / all1, got2 / all2
        out[p, 3] = key / all_key


def occupied_voxels(hair: Strands) -> tuple[np.ndarray, np.ndarray]:
    """Return cells [nx, ny, nz] numbered by use (-1 without hair) and the centres [n, 3] of the used ones in metres."""
    grid = np.zeros(_GRID_CELLS, np.float32)
    _fill(hair.points, grid)
    used = np.argwhere(grid > 0)
    numbers = np.full(_GRID_CELLS, -1, np.int64)
    numbers[tuple(used.T)] = np.arange(len(used))
    return numbers, ((used + 0.5) * VOXEL_M + GRID_LOW_M).astype(np.float32)


@kernel(error_model="numpy")
def spread_to_hairs(points, numbers, values, out):
    """Interpolate `values` [n, C] of the voxels that hold hair to the points [S, K, 3] into `out` [S, K, C]."""
    n_values = values.shape[1]
    for s in range(points.shape[0]):
        for k in range(points.shape[1]):
            fx = (points[s, k, 0] - GRID_LOW_M[0]) / VOXEL_M - 0.5
            fy = (points[s, k, 1] - GRID_LOW_M[1]) / VOXEL_M - 0.5
            fz = (points[s, k, 2] - GRID_LOW_M[2]) / VOXEL_M - 0.5
            i, j, m = int(np.floor(fx)), int(np.floor(fy)), int(np.floor(fz))
            a, b, c = fx - i, fy - j, fz - m
            total = 0.0
            for n in range(n_values):
                out[s, k, n] = 0.0
            for corner in range(8):
                di, dj, dm = corner & 1, (corner >> 1) & 1, corner >> 2
                ii, jj, mm = i + di, j + dj, m + dm
                if (
                    ii < 0
                    or jj < 0
                    or mm < 0
                    or ii >= numbers.shape[0]
                    or jj >= numbers.shape[1]
                    or mm >= numbers.shape[2]
                ):
                    continue
                number = numbers[ii, jj, mm]
                if number < 0:
                    continue
                w = (a if di else 1 - a) * (b if dj else 1 - b) * (c if dm else 1 - c) + 1e-6
                total += w
                for n in range(n_values):
                    out[s, k, n] += w * values[number, n]
            for n in range(n_values):
                out[s, k, n] = out[s, k, n] / total if total > 0 else 0.6


@functools.cache
def cavities() -> np.ndarray:
    """Return [V] float32 by vertex of the mean head: 1 in the open to about 0.4 in nostrils and eye corners.

    From the distance field: how much nearer the surface is than it would be over a plane (Evans 2006).
    """
    head = builtin_head()
    rest = head.v_template.double().numpy() * 1e3
    distance = head_distance(rest)
    is_skin = np.abs(distance) < 2.5
    p = rest[is_skin]
    n = gradient(p)
    lost = np.zeros(len(p))
    for height, weight in ((3.0, 0.30), (7.0, 0.30), (14.0, 0.35), (26.0, 0.30)):
        lost += weight * np.clip(1 - head_distance(p + height * n) / height, 0, 1)
    out = np.ones(len(rest), np.float32)
    out[is_skin] = np.clip(1 - 1.0 * lost, 0.45, 1)
    for name in ("left_ear", "right_ear"):
        ids = head.regions[name].numpy()
        out[ids] = _hollows(rest, head.faces_of(name), head.faces.numpy())[ids]
    return out


def _hollows(p: np.ndarray, face_ids: torch.Tensor, faces: np.ndarray) -> np.ndarray:
    """Return the darkening [V] of dents in a folded sheet such as the ear: the rise of the neighbours over a vertex."""
    f = faces[face_ids.numpy()]
    mean, count, normal = np.zeros_like(p), np.zeros(len(p)), np.zeros_like(p)
    for k in range(3):
        for other in (f[:, (k + 1) % 3], f[:, (k + 2) % 3]):
            np.add.at(mean, f[:, k], p[other])
            np.add.at(count, f[:, k], 1)
        np.add.at(normal, f[:, k], np.cross(p[f[:, 1]] - p[f[:, 0]], p[f[:, 2]] - p[f[:, 0]]))
    mean /= np.maximum(count, 1)[:, None]
    normal /= np.maximum(np.linalg.norm(normal, axis=-1, keepdims=True), 1e-9)
    rise = ((mean - p) * normal).sum(-1)
    return np.clip(0.92 - 0.45 * rise, 0.35, 1.0)
