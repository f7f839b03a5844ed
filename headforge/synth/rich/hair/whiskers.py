"""Hair that moves with the face: brows, lashes, beard. Each hair hangs on a triangle of the skin."""

from __future__ import annotations

import functools
import itertools
from dataclasses import dataclass

import numpy as np

from headforge.flame.builtin.surface import lid_edges, skin_grid
from headforge.render.jit import kernel
from headforge.synth.people.paint import feature_masks, ramp
from headforge.synth.rich.scalp import ScalpPoints, scatter, skin_areas
from headforge.synth.rich.texture import beard_mask
from headforge.synth.rich.traits import Traits
from headforge.synth.shots.samplers import item_rng

N_POINTS = 5


@dataclass(frozen=True)
class Whiskers:
    """S hairs of K points on triangles of the skin."""

    faces: np.ndarray
    """[S] int64."""
    weights: np.ndarray
    """[S, 3] float32 barycentrics of the root."""
    local: np.ndarray
    """[S, K, 3] float32 metres along the triangle's first edge, across it, and along its normal."""
    tone: np.ndarray
    """[S, 3] float32 linear colour."""
    width_m: np.ndarray
    """[S] float32."""

    def posed(self, vertices: np.ndarray) -> np.ndarray:
        """Return [S, K, 3] float32: the hairs on posed skin vertices [V, 3] float32."""
        out = np.empty_like(self.local)
        _pose(vertices, skin_grid()[2], self.faces, self.weights, self.local, out)
        return out


@kernel(error_model="numpy")
def _pose(vertices, triangles, faces, weights, local, out):
    e, u, n = np.zeros(3), np.zeros(3), np.zeros(3)
    for s in range(len(faces)):
        _frame(vertices, triangles, faces[s], e, u, n)
        a, b, c = triangles[faces[s], 0], triangles[faces[s], 1], triangles[faces[s], 2]
        for k in range(local.shape[1]):
            for i in range(3):
                root = weights[s, 0] * vertices[a, i] + weights[s, 1] * vertices[b, i] + weights[s, 2] * vertices[c, i]
                out[s, k, i] = root + local[s, k, 0] * e[i] + local[s, k, 1] * u[i] + local[s, k, 2] * n[i]


@kernel(error_model="numpy")
def _frame(vertices, triangles, f, e, u, n):
    """Write the orthonormal axes of triangle `f`: its first edge, across it, its outward normal."""
    a, b, c = triangles[f, 0], triangles[f, 1], triangles[f, 2]
    size = 1e-18
    for i in range(3):
        e[i] = vertices[b, i] - vertices[a, i]
        u[i] = vertices[c, i] - vertices[a, i]
        size += e[i] * e[i]
    size = np.sqrt(size)
    for i in range(3):
        e[i] /= size
    n[0], n[1], n[2] = e[1] * u[2] - e[2] * u[1], e[2] * u[0] - e[0] * u[2], e[0] * u[1] - e[1] * u[0]
    size = np.sqrt(n[0] ** 2 + n[1] ** 2 + n[2] ** 2) + 1e-18
    for i in range(3):
        n[i] /= size
    u[0], u[1], u[2] = n[1] * e[2] - n[2] * e[1], n[2] * e[0] - n[0] * e[2], n[0] * e[1] - n[1] * e[0]


def build_whiskers(traits: Traits, seed: int, vertices: np.ndarray, normals: np.ndarray, tones: np.ndarray) -> Whiskers:
    """Return all hair of the face on the neutral skin [N, 3] (metres) with its normals; `tones` as in `build_hair`."""
    rng = item_rng(seed, "whiskers", traits.person.subject)
    parts = [
        _brows(traits, rng, vertices, normals),
        _lashes(traits, rng, vertices),
        _beard(traits, rng, vertices, normals),
    ]
    faces, weights, points, width_mm, darkness = (np.concatenate(values) for values in zip(*parts, strict=True))
    grey = (rng.random(len(faces)) < traits.grey_share * 0.9) & (darkness < 1)
    tone = np.where(grey[:, None], tones[1], tones[0] * 0.85) * np.exp(rng.normal(0, 0.2, len(faces)))[:, None]
    tone = np.where((darkness >= 1)[:, None], 0.25 * tone.clip(0, 0.06), tone)
    local = np.empty(points.shape, np.float32)
    _unpose(
        vertices.astype(np.float32), skin_grid()[2], faces, weights.astype(np.float32), points.astype(np.float32), local
    )
    return Whiskers(
        faces, weights.astype(np.float32), local, tone.astype(np.float32), (width_mm * 1e-3).astype(np.float32)
    )


@kernel(error_model="numpy")
def _unpose(vertices, triangles, faces, weights, points, local):
    e, u, n = np.zeros(3), np.zeros(3), np.zeros(3)
    for s in range(len(faces)):
        _frame(vertices, triangles, faces[s], e, u, n)
        for k in range(points.shape[1]):
            for i in range(3):
                local[s, k, i] = 0.0
            for i in range(3):
                d = points[s, k, i] - points[s, 0, i]
                local[s, k, 0] += d * e[i]
                local[s, k, 1] += d * u[i]
                local[s, k, 2] += d * n[i]


Part = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]
"""Faces [S], weights [S, 3], points [S, K, 3] in metres, widths [S] in mm and 1 for lashes [S]."""


def _grow_on(points: ScalpPoints, vertices: np.ndarray, normals: np.ndarray, direction: np.ndarray, bend: np.ndarray,
             length_mm: np.ndarray, lift: np.ndarray | float) -> np.ndarray:  # fmt: skip
    """Return hairs [S, K, 3] in metres that leave along `direction` [S, 3] in the skin plane, rise by `lift`, bend."""
    roots, up = points.on(vertices), points.on(normals)
    up /= np.linalg.norm(up, axis=-1, keepdims=True)
    flat = direction - (direction * up).sum(-1, keepdims=True) * up
    flat /= np.maximum(np.linalg.norm(flat, axis=-1, keepdims=True), 1e-9)
    lift = np.broadcast_to(lift, len(roots))[:, None]
    start = flat * np.sqrt(1 - lift**2) + up * lift
    t = np.linspace(0, 1, N_POINTS)[None, :, None]
    scale = (length_mm * 1e-3)[:, None, None]
    return roots[:, None] + up[:, None] * 1e-4 + scale * (t * start[:, None] + t * t * bend[:, None])


def _brows(traits: Traits, rng: np.random.Generator, vertices: np.ndarray, normals: np.ndarray) -> Part:
    rest, _ = skin_areas()
    near = (np.abs(rest[:, 1] - 38) < 12) & (rest[:, 2] > 50) & (np.abs(rest[:, 0]) < 60)
    points = scatter(rng, np.any(near[skin_grid()[2]], -1), 6500)
    mask = feature_masks(points.rest_mm)["brow"] ** (1.15 / traits.brow_thickness)
    points = points.take(rng.random(len(mask)) < 0.9 * mask)
    x = points.rest_mm[:, 0]
    side, away = np.sign(x), np.abs(x)
    slope = np.interp(away, [8, 14, 24, 36, 50], [1.35, 0.95, 0.45, 0.05, -0.35]) + rng.normal(0, 0.16, len(x))
    slope += np.where(points.rest_mm[:, 1] > np.interp(away, [8, 22, 32, 52], [34, 38.4, 40.6, 35.5]), -0.3, 0.15)
    direction = np.stack([side * np.cos(slope), np.sin(slope), np.zeros(len(x))], -1)
    length = rng.uniform(4.5, 8.0, len(x)) * (0.85 + 0.3 * traits.person.age)
    hairs = _grow_on(points, vertices, normals, direction, direction * 0, length, 0.22)
    return points.faces, points.weights, hairs, np.full(len(x), 0.20), np.zeros(len(x))


def _lashes(traits: Traits, rng: np.random.Generator, vertices: np.ndarray) -> Part:
    upper, lower = lid_edges()
    triangles = skin_grid()[2]
    parts: list[Part] = []
    long = 4.6 if traits.person.is_masculine else 5.6 + 2.2 * traits.person.makeup
    for eye, sign in enumerate((1.0, -1.0)):
        for edge, n, length, lifts, rise in ((upper[eye], 105, long, 0.35, 0.75), (lower[eye], 45, 3.0, -0.35, -0.2)):
            at = np.sort(rng.uniform(0.6, 11.6, n))
            i = at.astype(int)
            faces, weights = _edge_triangles(edge, i, at - i)
            roots = np.einsum("nk,nkc->nc", weights, vertices[triangles[faces]])
            centre = vertices[edge].mean(0) + np.array([0, 0, -0.009])
            out = roots - centre
            out /= np.linalg.norm(out, axis=-1, keepdims=True)
            across = (at / 12 - 0.4)[:, None] * np.array([0.9 * sign, 0, 0])
            start = out * np.array([0.6, 0.3, 1.0]) + np.array([0, lifts, 0]) + across + rng.normal(0, 0.07, (n, 3))
            start /= np.linalg.norm(start, axis=-1, keepdims=True)
            t = np.linspace(0, 1, N_POINTS)[None, :, None]
            scale = (length * rng.uniform(0.65, 1.0, n) * (0.55 + 0.45 * np.sin(np.pi * (at / 12) ** 0.8)))[
                :, None, None
            ] * 1e-3
            points = roots[:, None] + scale * (t * start[:, None] + t * t * np.array([0, rise, 0]))
            parts.append((faces, weights, points, np.full(n, 0.12), np.ones(n)))
    return tuple(np.concatenate(values) for values in zip(*parts, strict=True))  # type: ignore[return-value]


def _edge_triangles(edge: np.ndarray, i: np.ndarray, t: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return triangles [n] of the `i`-th segments of an `edge`, and weights [n, 3] of the points at `t` on them."""
    faces = _segment_triangles(tuple(edge.tolist()))[i]
    corners, t = skin_grid()[2][faces], t[:, None]
    return faces, (corners == edge[i, None]) * (1 - t) + (corners == edge[i + 1, None]) * t


@functools.cache
def _segment_triangles(edge: tuple[int, ...]) -> np.ndarray:
    """Return the skin's first triangle [n] that holds each segment of an edge of n + 1 vertices."""
    triangles = skin_grid()[2]
    return np.array([(np.isin(triangles, pair).sum(-1) == 2).argmax() for pair in itertools.pairwise(edge)])


def _beard(traits: Traits, rng: np.random.Generator, vertices: np.ndarray, normals: np.ndarray) -> Part:
    none = np.zeros(0)
    if traits.beard == "none":
        return none.astype(np.int64), none.reshape(0, 3), none.reshape(0, N_POINTS, 3), none, none
    rest, _ = skin_areas()
    near = (rest[:, 1] < 8) & (rest[:, 1] > -128) & (rest[:, 2] > -12)
    points = scatter(rng, np.any(near[skin_grid()[2]], -1), 15000)
    mask = beard_mask(traits, points.rest_mm, feature_masks(points.rest_mm))
    points = points.take(rng.random(len(mask)) < mask)
    p = points.rest_mm
    is_lip = p[:, 1] > -46
    direction = np.stack(
        [0.35 * np.sign(p[:, 0]) * is_lip + 0.004 * p[:, 0], np.full(len(p), -1.0), 0.25 + 0 * p[:, 0]], -1
    )
    direction += rng.normal(0, 0.22, direction.shape)
    is_long = traits.beard == "full"
    chin = ramp(p[:, 1], -20, -70) if is_long else 0.8
    length = traits.beard_length_mm * (0.35 + 0.65 * chin) * rng.uniform(0.6, 1.1, len(p))
    behind = ramp(p[:, 2], 58, 18)
    length = length + behind * (np.minimum(length, 4 + 0.12 * length) - length)
    length = np.where(is_lip, np.minimum(length, rng.uniform(7, 12)), length)
    bend = np.array([0.0, -0.35, 0.0]) * np.minimum(length / 25, 1)[:, None] + rng.normal(0, 0.10, direction.shape)
    lift = 0.55 if traits.beard == "stubble" else rng.uniform(0.30, 0.62, len(p))
    hairs = _grow_on(points, vertices, normals, direction, bend, length, lift)
    return points.faces, points.weights, hairs, np.full(len(p), 0.22), np.zeros(len(p))
