"""Points spread over the skin, and the density of the scalp's hair."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np

from headforge.flame.builtin.head import builtin_head
from headforge.flame.builtin.modes import Places, identity_modes, ramp
from headforge.flame.builtin.surface import hairline_height, skin_grid
from headforge.synth.rich.traits import Traits
from headforge.synth.shots.samplers import item_rng


@dataclass(frozen=True)
class ScalpPoints:
    """Points of the skin as triangles and weights, with their places on the mean head."""

    faces: np.ndarray
    """[N] ids of the skin's triangles."""
    weights: np.ndarray
    """[N, 3]."""
    rest_mm: np.ndarray
    """[N, 3]."""

    def take(self, chosen: np.ndarray) -> ScalpPoints:
        """Return the chosen points."""
        return ScalpPoints(self.faces[chosen], self.weights[chosen], self.rest_mm[chosen])

    def on(self, vertices: np.ndarray) -> np.ndarray:
        """Interpolate values of the skin's vertices [V, C] at the points: [N, C]."""
        corners = skin_grid()[2][self.faces]
        return np.einsum("nk,nkc->nc", self.weights, vertices[corners])


@functools.cache
def skin_areas() -> tuple[np.ndarray, np.ndarray]:
    """Return the mean skin's vertices [N, 3] in mm and its triangles' areas [F]."""
    rest = builtin_head().v_template[: len(skin_grid()[0])].double().numpy() * 1e3
    a, b, c = rest[skin_grid()[2]].transpose(1, 0, 2)
    return rest, 0.5 * np.linalg.norm(np.cross(b - a, c - a), axis=-1)


def scatter(rng: np.random.Generator, allowed: np.ndarray, n: int) -> ScalpPoints:
    """Return `n` points spread evenly over the triangles in the mask `allowed` [F] of the skin."""
    rest, areas = skin_areas()
    total = np.cumsum(areas * allowed)
    # One point per equal share of the area: more even than independent draws.
    faces = np.searchsorted(total, (np.arange(n) + rng.random(n)) / n * total[-1], side="right")
    faces = rng.permutation(np.minimum(faces, len(areas) - 1))
    u, v = rng.random((2, n))
    flip = u + v > 1
    u, v = np.where(flip, 1 - u, u), np.where(flip, 1 - v, v)
    weights = np.stack([1 - u - v, u, v], -1)
    return ScalpPoints(faces, weights, np.einsum("nk,nkc->nc", weights, rest[skin_grid()[2][faces]]))


def density(traits: Traits, seed: int, p: np.ndarray) -> np.ndarray:
    """Return the hair density [N], 0 to 1, at template places `p` [N, 3] in mm."""
    rng = item_rng(seed, "hairline", traits.person.subject)
    azimuth = np.arctan2(np.abs(p[:, 0]), p[:, 2] + 5)
    front = ramp(p[:, 2], 20, 75)
    own = rng.normal(0, 2.5) + rng.uniform(-4, 5) * np.exp(-((azimuth / 0.18) ** 2))
    waves = rng.normal(0, 1, 4)
    ripple = sum(w * np.cos((k + 2) * 3.1 * azimuth + k) for k, w in enumerate(waves))
    temples = 0.35 + 0.65 * np.exp(-(((azimuth - 0.55) / 0.3) ** 2))
    height = hairline_height(p) - (own + 1.2 * ripple) * front - traits.hairline_mm * temples * front
    crown = np.exp(-(((p - np.array([0, 124, -35])) / np.array([58, 40, 58])) ** 2).sum(-1))
    bare = np.clip(
        traits.bare_crown * 1.3 * crown + 0.9 * max(traits.bare_crown - 0.55, 0.0) * ramp(p[:, 1], 70, 105), 0, 1
    )
    if traits.haircut in ("bun", "ponytail"):
        # Sideburns are too short to reach the tie.
        height = height - 26 * ramp(p[:, 1], 34, 18) * ramp(p[:, 2], -2, 8)
    return ramp(height, -1.5, 8.0) * (1 - bare)


@functools.cache
def rest_normals() -> np.ndarray:
    """Return the normals [N, 3] of the mean skin."""
    rest, _ = skin_areas()
    faces = skin_grid()[2]
    a, b, c = rest[faces].transpose(1, 0, 2)
    normals = np.zeros_like(rest)
    for corner in range(3):
        np.add.at(normals, faces[:, corner], np.cross(b - a, c - a))
    return normals / np.linalg.norm(normals, axis=-1, keepdims=True)


def follow_identity(p: np.ndarray, traits: Traits) -> np.ndarray:
    """Deform places [n, 3] (mm, on the mean head) with the subject's identity; return metres."""
    n, none = len(p), np.zeros(len(p))
    places = Places(p, p, np.ones(n), none, none, none, np.zeros((n, 2)), np.zeros((n, 2)), p)
    return (p + identity_modes(places) @ traits.person.shape.double().numpy()) * 1e-3
