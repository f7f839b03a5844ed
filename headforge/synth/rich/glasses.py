"""Glasses as geometry: rims, bridge and temples of tubes, lenses as thin sheets; fitted to a subject's head."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from headforge.flame.builtin.head import builtin_head
from headforge.synth.rich.traits import Traits
from headforge.synth.shots.samplers import item_rng

_N_RIM, _N_ACROSS, _N_TEMPLE = 44, 6, 12
_RIMS: Mapping[str, tuple[float, float, float, float, float]] = {
    "round": (22.0, 21.0, 2.0, 0.9, 1.0),
    "rectangle": (26.0, 17.0, 4.0, 1.8, 1.3),
    "wide": (27.5, 20.5, 2.8, 2.3, 1.6),
    "pilot": (27.0, 22.0, 2.3, 0.8, 1.0),
}
"""Half width and half height in mm, exponent of the superellipse, half thickness in the front and along the view."""
_CLEARANCE_M = 0.0125
"""Distance from the front of the eyeball to the lens."""


@dataclass(frozen=True)
class Glasses:
    """Glasses on one subject's neutral head, metres."""

    vertices: np.ndarray
    """[n, 3] float32 of the frame."""
    faces: np.ndarray
    """[f, 3] int64."""
    lens_vertices: np.ndarray
    """[m, 3] float32."""
    lens_faces: np.ndarray
    """[g, 3] int64."""


def build_glasses(traits: Traits, seed: int, vertices: np.ndarray, *, has_defects: bool) -> Glasses | None:
    """Return the subject's glasses on the neutral head's `vertices` [V, 3], or None.

    With `has_defects` they have the defects of generated pictures: two different lenses, a wavy rim, a temple that
    stops short.
    """
    if traits.glasses == "none":
        return None
    half_width, half_height, power, thick, deep = _RIMS[traits.glasses]
    rng = item_rng(seed, "glasses defects", traits.person.subject)
    head = builtin_head()
    eyes = [vertices[head.regions[name].numpy()].mean(0) for name in ("left_eyeball", "right_eyeball")]
    front = max(vertices[head.regions[name].numpy()][:, 2].max() for name in ("left_eyeball", "right_eyeball"))
    spread = 0.5 * (eyes[0][0] - eyes[1][0]) * 1e3
    middle = 0.5 * (eyes[0] + eyes[1]) * 1e3
    plane_z = max((front + _CLEARANCE_M) * 1e3, _bridge_z(vertices, middle[1]) + 1.0)
    tubes, lenses = [], []
    inner = 0.0
    worse = int(rng.integers(2))
    for side, sign in enumerate((1.0, -1.0)):
        scale, wave, shift = np.ones(2), 0.0, 0.0
        if has_defects and side == worse:
            scale, wave, shift = rng.uniform(0.72, 1.22, 2), rng.uniform(0.06, 0.14), rng.uniform(-4, 4)
        centre_x = spread * 0.92 + (half_width - spread * 0.55) * 0.25
        angle = np.linspace(0, 2 * np.pi, _N_RIM, endpoint=False)
        x, y = _outline(traits.glasses, angle, half_width * scale[0], half_height * scale[1], power)
        ripple = 1 + wave * np.sin(3 * angle + rng.uniform(0, 6)) + 0.5 * wave * np.sin(7 * angle + rng.uniform(0, 6))
        x, y = x * ripple + centre_x, y * ripple + shift - 2.5
        rim = np.stack([sign * x, middle[1] + y, plane_z - 0.0042 * x**2], -1)
        tubes.append(_tube(rim, thick, deep, is_closed=True))
        lenses.append(_lens(rim))
        hinge = np.array([sign * (x.max() + 0.5), middle[1] + 6.0, plane_z - 0.0042 * x.max() ** 2])
        reach = rng.uniform(0.35, 0.6) if has_defects and side != worse and rng.random() < 0.7 else 1.0
        tubes.append(_tube(_temple(vertices, hinge, sign, reach), 0.5 * thick + 0.6, 0.4 * deep + 0.9, is_closed=False))
        if side == 0:
            inner = x.min()
    bend = np.linspace(-1, 1, 9)
    lift = rng.uniform(-6, -2) if has_defects else 2.2
    arch = 1 - bend**2
    bridge = np.stack([bend * (inner + 0.5), middle[1] + 3.0 + lift * arch, plane_z + 1.2 * arch], -1)
    tubes.append(_tube(bridge, 0.8 * thick + 0.2, deep, is_closed=False))
    frame_vertices, frame_faces = _join(tubes)
    lens_vertices, lens_faces = _join(lenses)
    return Glasses(frame_vertices, frame_faces, lens_vertices, lens_faces)


def _bridge_z(vertices: np.ndarray, y_mm: float) -> float:
    """Return the forward reach of the nose's bridge at a height, mm."""
    p = vertices * 1e3
    near = (np.abs(p[:, 0]) < 4) & (np.abs(p[:, 1] - y_mm - 4) < 6) & (p[:, 2] > 60)
    return float(p[near, 2].max())


def _outline(kind: str, angle: np.ndarray, width: float, height: float, power: float) -> tuple[np.ndarray, np.ndarray]:
    """Return x outwards and y up of a rim about its centre."""
    c, s = np.cos(angle), np.sin(angle)
    x = width * np.sign(c) * np.abs(c) ** (2 / power)
    y = height * np.sign(s) * np.abs(s) ** (2 / power)
    if kind == "pilot":
        x, y = x + 0.16 * y + 0.0, np.where(y < 0, y * (1.18 + 0.08 * c), 0.82 * y)
    if kind == "wide":
        y = y + 0.12 * np.clip(x, 0, None) * (y > 0)
    return x, y


def _temple(vertices: np.ndarray, hinge: np.ndarray, sign: float, reach: float) -> np.ndarray:
    """Return a temple's path [T, 3] in mm: from the hinge back over the ear and down behind it, outside the head."""
    p = vertices * 1e3
    ear = p[builtin_head().regions["left_ear" if sign > 0 else "right_ear"].numpy()]
    top_y = ear[:, 1].max() - 13.0
    t = np.linspace(0, reach, _N_TEMPLE)
    z = hinge[2] + (-14.0 - hinge[2]) * np.minimum(t / 0.8, 1) - 16.0 * np.clip((t - 0.8) / 0.2, 0, 1)
    y = hinge[1] + (top_y - hinge[1]) * np.minimum(t / 0.8, 1) - 26.0 * np.clip((t - 0.8) / 0.2, 0, 1) ** 1.3
    skin = p[:6000]
    skin = skin[skin[:, 0] * sign > 0]
    x = np.zeros_like(t)
    for i in range(len(t)):
        near = (np.abs(skin[:, 2] - z[i]) < 9) & (np.abs(skin[:, 1] - y[i]) < 9) & (skin[:, 2] < hinge[2])
        widest = np.abs(skin[near, 0]).max() + 1.6 if near.any() else 0.0
        line = abs(hinge[0]) + 9.0 * min(t[i] / 0.7, 1)
        x[i] = max(widest, line if t[i] < 0.75 else 0.0)
    x[0] = abs(hinge[0])
    smooth = np.convolve(np.pad(x, 1, mode="edge"), [0.25, 0.5, 0.25], mode="valid")
    return np.stack([sign * np.maximum(x, smooth), y, z], -1)


def _tube(path: np.ndarray, radius_up: float, radius_out: float, *, is_closed: bool) -> tuple[np.ndarray, np.ndarray]:
    """Return a closed or open tube with an elliptic section along a path [n, 3]: vertices and faces."""
    n = len(path)
    ahead = np.roll(path, -1, 0) - np.roll(path, 1, 0) if is_closed else np.gradient(path, axis=0)
    ahead /= np.linalg.norm(ahead, axis=-1, keepdims=True) + 1e-9
    out = np.array([0, 0, 1.0]) - ahead * ahead[:, 2:]
    is_along = np.linalg.norm(out, axis=-1) < 0.3
    out = np.where(is_along[:, None], np.cross(ahead, np.array([0, 1.0, 0])), out)
    out /= np.linalg.norm(out, axis=-1, keepdims=True) + 1e-9
    up = np.cross(ahead, out)
    angle = np.linspace(0, 2 * np.pi, _N_ACROSS, endpoint=False)
    ring = (
        radius_up * np.cos(angle)[None, :, None] * up[:, None]
        + radius_out * np.sin(angle)[None, :, None] * out[:, None]
    )
    vertices = (path[:, None] + ring).reshape(-1, 3)
    i = np.arange(n if is_closed else n - 1)[:, None]
    j = np.arange(_N_ACROSS)[None]
    a, b = i * _N_ACROSS + j, i * _N_ACROSS + (j + 1) % _N_ACROSS
    c, d = (i + 1) % n * _N_ACROSS + (j + 1) % _N_ACROSS, (i + 1) % n * _N_ACROSS + j
    faces = np.stack([np.stack([a, c, b], -1), np.stack([a, d, c], -1)], 2).reshape(-1, 3)
    return vertices, faces


def _lens(rim: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return a slightly domed sheet inside a rim."""
    centre = rim.mean(0)
    middle = centre + 0.55 * (rim - centre) + np.array([0, 0, 0.9])
    n = len(rim)
    vertices = np.concatenate([rim, middle, [centre + np.array([0, 0, 1.3])]])
    i = np.arange(n)
    j = (i + 1) % n
    faces = np.concatenate([np.stack([i, j, n + j], -1), np.stack([i, n + j, n + i], -1),
                            np.stack([n + i, n + j, np.full(n, 2 * n)], -1)])  # fmt: skip
    return vertices, faces


def _join(parts: list[tuple[np.ndarray, np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
    """Join meshes in mm into one in metres."""
    starts = np.cumsum([0, *(len(v) for v, _ in parts[:-1])])
    vertices = np.concatenate([v for v, _ in parts]) * 1e-3
    faces = np.concatenate([f + start for (_, f), start in zip(parts, starts, strict=True)])
    return vertices.astype(np.float32), np.ascontiguousarray(faces, np.int64)
