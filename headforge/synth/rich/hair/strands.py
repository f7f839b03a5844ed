"""Strands of hair: guides that grow over the head's distance field, and the hairs between them.

Guides are grown on the mean head in millimetres and then follow the subject's identity; hairs follow their guides.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.spatial import KDTree

from headforge.render.jit import kernel
from headforge.synth.rich.hair.field import LOW_MM, SPACING_MM

N_NEIGHBOURS = 3


@dataclass(frozen=True)
class Strands:
    """S hairs of K points each."""

    points: np.ndarray
    """[S, K, 3] float32; metres."""
    tone: np.ndarray
    """[S, 3] float32 linear colour of each hair."""
    width_mm: np.ndarray
    """[S] float32."""

    @property
    def n(self) -> int:
        """S."""
        return len(self.points)


@dataclass(frozen=True)
class Growth:
    """Growth of G guides; every array has one entry per guide."""

    flow: np.ndarray
    """[G, 3] the way the hair is combed; its length doesn't matter."""
    length_mm: np.ndarray
    lift: np.ndarray
    """0 lies on the skin, 1 stands up at the root."""
    gravity: np.ndarray
    """Rate at which the hair turns downwards, per 30 mm."""
    layer_mm: np.ndarray
    """Distance of the resting hair from the skin."""
    cling: np.ndarray
    """0 to 1: how strongly hair farther out than that is drawn back."""
    goal: np.ndarray | None = None
    """[3] mm: where hair is tied together."""
    tail_mm: float = 0.0
    """Length of tied hair that hangs down behind the tie."""


def grow_guides(grid: np.ndarray, roots: np.ndarray, normals: np.ndarray, growth: Growth, n_points: int) -> np.ndarray:
    """Return guides [G, K, 3] in mm from `roots` [G, 3] with unit skin `normals` [G, 3], outside the head in `grid`."""
    out = np.zeros((len(roots), n_points, 3))
    goal = np.zeros(3) if growth.goal is None else growth.goal
    steps = np.stack(
        [growth.length_mm / (n_points - 1), growth.lift, growth.gravity, growth.layer_mm, growth.cling], -1
    )
    _grow(grid, roots, normals, growth.flow, steps, goal, growth.goal is not None, growth.tail_mm, out)
    return out


@kernel(error_model="numpy")
def sample_grid(grid, x, y, z, out):
    """Write a trilinear sample of a `head_grid` at a place in mm into `out` [4]: distance and gradient."""
    nx, ny, nz = grid.shape[0], grid.shape[1], grid.shape[2]
    fx = min(max((x - LOW_MM[0]) / SPACING_MM, 0.0), nx - 1.001)
    fy = min(max((y - LOW_MM[1]) / SPACING_MM, 0.0), ny - 1.001)
    fz = min(max((z - LOW_MM[2]) / SPACING_MM, 0.0), nz - 1.001)
    i, j, k = int(fx), int(fy), int(fz)
    a, b, c = fx - i, fy - j, fz - k
    for n in range(4):
        low = (grid[i, j, k, n] * (1 - c) + grid[i, j, k + 1, n] * c) * (1 - b)
        low += (grid[i, j + 1, k, n] * (1 - c) + grid[i, j + 1, k + 1, n] * c) * b
        high = (grid[i + 1, j, k, n] * (1 - c) + grid[i + 1, j, k + 1, n] * c) * (1 - b)
        high += (grid[i + 1, j + 1, k, n] * (1 - c) + grid[i + 1, j + 1, k + 1, n] * c) * b
        out[n] = low * (1 - a) + high * a


@kernel(error_model="numpy")
def _grow(grid, roots, normals, flow, steps, goal, is_tied, tail_mm, out):
    here = np.zeros(4)
    d = np.zeros(3)
    n_points = out.shape[1]
    for g in range(len(roots)):
        h, lift, gravity, layer, cling = steps[g, 0], steps[g, 1], steps[g, 2], steps[g, 3], steps[g, 4]
        x, y, z = roots[g, 0], roots[g, 1], roots[g, 2]
        sample_grid(grid, x, y, z, here)
        depth = here[0]
        along = 0.0
        for c in range(3):
            along += flow[g, c] * normals[g, c]
        size = 1e-9
        for c in range(3):
            d[c] = flow[g, c] - along * normals[g, c]
            size += d[c] * d[c]
        size = np.sqrt(size)
        for c in range(3):
            d[c] = d[c] / size * (1 - lift) + normals[g, c] * (lift + 0.15)
        is_free = not is_tied
        out[g, 0, 0], out[g, 0, 1], out[g, 0, 2] = x, y, z
        if is_tied:
            reach = np.sqrt((goal[0] - x) ** 2 + (goal[1] - y) ** 2 + (goal[2] - z) ** 2)
            h = (1.12 * reach + tail_mm) / (n_points - 1)
        for k in range(1, n_points):
            s = k * h
            if not is_free:
                gx, gy, gz = goal[0] - x, goal[1] - y, goal[2] - z
                reach = np.sqrt(gx * gx + gy * gy + gz * gz) + 1e-9
                pull = 0.9 if reach < 60 else 0.45
                d[0] += pull * gx / reach
                d[1] += pull * gy / reach
                d[2] += pull * gz / reach
                if reach < max(1.2 * h, 7.0):
                    is_free = True
                    d[1] -= 0.2
                    d[2] -= 0.8
            else:
                d[1] -= gravity * h / 30.0
                sample_grid(grid, x, y, z, here)
                back = (
                    cling * min(max((y + 5) / 40, 0.15), 1.0) * min(max((here[0] - layer) / 12.0, 0.0), 1.0) * h / 10.0
                )
                d[0] -= back * here[1]
                d[1] -= back * here[2]
                d[2] -= back * here[3]
            size = np.sqrt(d[0] ** 2 + d[1] ** 2 + d[2] ** 2) + 1e-9
            nx, ny, nz = x + h * d[0] / size, y + h * d[1] / size, z + h * d[2] / size
            # Roots beside the ear start inside what long hair covers and come out of it slowly.
            wanted = min(layer * (1 - np.exp(-s / 22.0)) + 0.4, depth + 0.22 * s)
            # Pushing out and keeping the length undo each other a little; twice is enough.
            for _ in range(2):
                sample_grid(grid, nx, ny, nz, here)
                lift_by = max(wanted - here[0], 0.0)
                ex = nx + lift_by * here[1] - x
                ey = ny + lift_by * here[2] - y
                ez = nz + lift_by * here[3] - z
                size = np.sqrt(ex * ex + ey * ey + ez * ez) + 1e-9
                nx, ny, nz = x + h * ex / size, y + h * ey / size, z + h * ez / size
            d[0], d[1], d[2] = (nx - x) / h, (ny - y) / h, (nz - z) / h
            x, y, z = nx, ny, nz
            out[g, k, 0], out[g, k, 1], out[g, k, 2] = x, y, z


@dataclass(frozen=True)
class Texture:
    """Deviation of hairs from their guides."""

    clump: float
    """0 none to 1: hairs run together into locks at their tips."""
    curl_radius_mm: float
    curl_length_mm: float
    """Length of one turn."""
    frizz_mm: float
    length_spread: float
    """Hairs end between this share and all of their guide's length."""


def grow_hairs(
    guides_m: np.ndarray, guide_roots_mm: np.ndarray, flow: np.ndarray, roots_m: np.ndarray, roots_mm: np.ndarray,
    texture: Texture, rng: np.random.Generator,
) -> np.ndarray:  # fmt: skip
    """Return hairs [S, K, 3] float32 metres at `roots_m` [S, 3] that follow the nearest of `guides_m` [G, K, 3].

    Nearness is measured on the mean head, where the roots are `roots_mm` [S, 3] and the guides' `guide_roots_mm`.
    Guides combed another way (across a parting) are not mixed: `flow` [G, 3].
    """
    distance, near = (np.asarray(found) for found in KDTree(guide_roots_mm).query(roots_mm, k=N_NEIGHBOURS))
    unit = flow / np.maximum(np.linalg.norm(flow, axis=-1, keepdims=True), 1e-9)
    alike = (unit[near] * unit[near[:, :1]]).sum(-1) > 0.55
    weights = alike / (distance + 1.5) ** 2
    weights /= weights.sum(-1, keepdims=True)
    n = len(roots_m)
    own = np.stack([
        rng.uniform(texture.length_spread, 1.0, n), rng.uniform(0, 2 * np.pi, n), rng.normal(0, 1, n),
        rng.normal(0, 1, n), rng.uniform(0.6, 1.4, n),
    ], -1)  # fmt: skip
    phases = rng.uniform(0, 2 * np.pi, len(guides_m))
    out = np.zeros((n, guides_m.shape[1], 3), np.float32)
    amounts = np.array([texture.clump, texture.curl_radius_mm * 1e-3, texture.curl_length_mm * 1e-3,
                        texture.frizz_mm * 1e-3])  # fmt: skip
    _follow(guides_m, near, weights, roots_m.astype(np.float64), own, phases, amounts, out)
    return out


@kernel(error_model="numpy")
def _follow(guides, near, weights, roots, own, phases, amounts, out):
    n_points = out.shape[1]
    clump, curl_radius, curl_length, frizz = amounts[0], amounts[1], amounts[2], amounts[3]
    e1, e2, axis = np.zeros(3), np.zeros(3), np.zeros(3)
    for s in range(len(roots)):
        share, phase, side, other, pace = own[s, 0], own[s, 1], own[s, 2], own[s, 3], own[s, 4]
        first = near[s, 0]
        length = 0.0
        size = 1e-12
        for c in range(3):
            axis[c] = guides[first, n_points - 1, c] - guides[first, 0, c]
            size += axis[c] * axis[c]
        for k in range(1, n_points):
            length += np.sqrt(
                (guides[first, k, 0] - guides[first, k - 1, 0]) ** 2
                + (guides[first, k, 1] - guides[first, k - 1, 1]) ** 2
                + (guides[first, k, 2] - guides[first, k - 1, 2]) ** 2
            )
        size = np.sqrt(size)
        for c in range(3):
            axis[c] /= size
        # Any direction across the axis will do as the curl's first one.
        if abs(axis[1]) < 0.8:
            e1[0], e1[1], e1[2] = axis[2], 0.0, -axis[0]
        else:
            e1[0], e1[1], e1[2] = 0.0, -axis[2], axis[1]
        size = np.sqrt(e1[0] ** 2 + e1[1] ** 2 + e1[2] ** 2) + 1e-12
        for c in range(3):
            e1[c] /= size
        e2[0] = axis[1] * e1[2] - axis[2] * e1[1]
        e2[1] = axis[2] * e1[0] - axis[0] * e1[2]
        e2[2] = axis[0] * e1[1] - axis[1] * e1[0]
        for k in range(n_points):
            t = k * share
            i = min(int(t), n_points - 2)
            a = t - i
            u = t / (n_points - 1)
            together = clump * u * np.sqrt(u)
            arc = u * length
            turn = phases[first] + 0.5 * side + 2 * np.pi * arc / curl_length
            grown = min(4 * u, 1.0)
            wave1 = curl_radius * grown * np.cos(turn) + frizz * u * np.sin(5.3 * pace * u + phase) * side
            wave2 = curl_radius * grown * np.sin(turn) + frizz * u * np.sin(4.1 * pace * u + 2 * phase) * other
            for c in range(3):
                moved = 0.0
                for j in range(near.shape[1]):
                    g = near[s, j]
                    on = guides[g, i, c] * (1 - a) + guides[g, i + 1, c] * a
                    moved += weights[s, j] * (on - guides[g, 0, c])
                place = roots[s, c] + moved
                lead = guides[first, i, c] * (1 - a) + guides[first, i + 1, c] * a
                place += together * (lead - place)
                out[s, k, c] = place + wave1 * e1[c] + wave2 * e2[c]
