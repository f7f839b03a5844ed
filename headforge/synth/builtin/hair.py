"""Hair as shells over the head: skin lifted along its normals, or curtains that hang from the crown."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
from scipy.interpolate import PchipInterpolator

from headforge.flame.builtin.field import head_distance
from headforge.flame.builtin.modes import Places, identity_modes
from headforge.flame.builtin.surface import hairline_height
from headforge.synth.people.subjects import Person
from headforge.synth.shots.samplers import item_rng


@dataclass(frozen=True)
class HairShell:
    """One layer of hair in the neutral head's space, in metres."""

    vertices: np.ndarray
    """[n, 3]."""
    faces: np.ndarray
    """[f, 3]."""
    strand: np.ndarray
    """[n, 2] across and along the strands, in strand-texture units."""
    cover: np.ndarray
    """[n] how far inside the shell's edge, in units of its ragged border: below 0 no hair, above 1 solid."""
    shade: np.ndarray
    """[n] darkening, 1 = none."""


def build_hair(person: Person, seed: int, skin_vertices: np.ndarray, skin_rest_mm: np.ndarray, skin_normals: np.ndarray,
               skin_faces: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> list[HairShell]:  # fmt: skip
    """Return the subject's hair on skin vertices [N, 3] (metres) with the template places `skin_rest_mm` [N, 3]."""
    rng = item_rng(seed, "hair", person.subject)
    if person.hair_style == "bald":
        return []
    cap = _cap(person, rng, skin_vertices, skin_rest_mm, skin_normals, skin_faces, rows, columns)
    if person.hair_style in ("medium", "long"):
        return [_curtain(person, rng)]
    if person.hair_style == "bun":
        return [cap, _bun(person, rng)]
    return [cap]


def _noise(rng: np.random.Generator, points: np.ndarray, wavelength: float, n_waves: int = 24) -> np.ndarray:
    """Return smooth noise [N] of unit variance at `points` [N, D]."""
    k = rng.normal(0, 2 * np.pi / wavelength, (points.shape[1], n_waves))
    return np.sqrt(2 / n_waves) * np.cos(points @ k + rng.uniform(0, 2 * np.pi, n_waves)).sum(-1)


def _ramp(x: np.ndarray, low: float, high: float) -> np.ndarray:
    t = np.clip((x - low) / (high - low), 0, 1)
    return t * t * (3 - 2 * t)


def _cap(person: Person, rng: np.random.Generator, vertices: np.ndarray, rest: np.ndarray, normals: np.ndarray,
         faces: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> HairShell:  # fmt: skip
    """Return short hair: the scalp lifted by a thickness that fades to nothing at the hairline."""
    recede = max(person.age - 0.45, 0) * 26 * rng.random() if person.is_masculine else 0.0
    front = _ramp(rest[:, 2], 30, 85)
    own = rng.normal(0, 3.0) - 5.0 * (person.hair_style == "afro")
    height = hairline_height(rest) - (recede + own) * front + 2.2 * _noise(rng, rest, 14)
    kept = height > -7
    used = kept[faces].any(-1)
    ids = np.unique(faces[used])
    lookup = np.full(len(rest), -1)
    lookup[ids] = np.arange(len(ids))
    p, h = rest[ids], height[ids]
    thickness, lean, lean_across, edge_mm = _cap_shape(person, rng, p, h)
    front = front[ids]
    shell = vertices[ids] + (normals[ids] * thickness[:, None] + lean) * 1e-3
    slant = lean_across + rng.normal(0, 0.15)
    strand = np.stack([columns[ids] / 72 * 10.0 + slant * rows[ids] / 22.0, rows[ids] / 30.0], -1)
    border = np.where(front > 0.3, edge_mm, 6.0)
    cover = np.minimum(h / border + 0.45, 0.5 if person.hair_style == "buzz" else np.inf)
    return HairShell(shell, lookup[faces[used]], strand, cover, 0.72 + 0.28 * _ramp(h, 0, 18))


def _cap_shape(
    person: Person, rng: np.random.Generator, p: np.ndarray, h: np.ndarray
) -> tuple[np.ndarray, np.ndarray, float, float]:
    """Return thickness [n] and lean [n, 3] of short hair in mm at template places `p`, `h` mm above the hairline.

    The last two values are how far the strands slant to one side and how wide the front's ragged border is in mm.
    """
    top = _ramp(p[:, 1], 40, 95)
    clumps = _noise(rng, p * np.array([1.0, 0.6, 0.6]), 22)
    if person.hair_style == "buzz":
        return 0.4 + 1.8 * _ramp(h, -4, 8), np.zeros_like(p), 0.0, 9.0
    if person.hair_style == "bun":
        return 0.3 + 5.5 * _ramp(h, -4, 26) * person.hair_volume, np.zeros_like(p), 0.0, 13.0
    if person.hair_style == "afro":
        size = rng.uniform(12, 30) * person.hair_volume
        fine = _noise(rng, p, 8)
        return 0.5 + _ramp(h, -6, 34) * size * (1 + 0.07 * clumps + 0.05 * fine), np.zeros_like(p), 0.0, 7.0
    sides = rng.uniform(2.0, 6.0)
    crown = rng.uniform(8, 19) * person.hair_volume
    is_front = _ramp(p[:, 2], 30, 75)
    rise = is_front * _ramp(h, -4, 16) + (1 - is_front) * (0.25 * _ramp(h, -4, 10) + 0.75 * _ramp(h, 4, 55))
    thickness = 0.4 + rise * (sides + (crown - sides) * top) * (1 + 0.16 * clumps)
    front = _ramp(p[:, 2], 10, 85) * _ramp(h, -2, 14)
    style = rng.choice(4, p=[0.35, 0.35, 0.12, 0.18])
    sweep = float(rng.choice([-1.0, 1.0]))
    lean = np.zeros_like(p)
    if style == 0:
        lean[:, 1] += front * rng.uniform(4, 13)
        lean[:, 2] += front * rng.uniform(-2, 3)
        return thickness, lean, 0.2 * sweep, 12.0
    if style == 1:
        lean[:, 0] += sweep * front * rng.uniform(4, 10)
        lean[:, 1] += front * (1 + 0.012 * sweep * p[:, 0]) * rng.uniform(2, 7)
        return thickness, lean, 1.3 * sweep, 10.0
    fringe = front * _ramp(h, 24, -2) * rng.uniform(4, 11)
    fringe = fringe * (1 + (0.35 * _noise(rng, p[:, :1], 9) if style == 2 else 0.016 * sweep * p[:, 0])).clip(0)
    lean[:, 1] -= fringe
    lean[:, 2] += 0.35 * fringe
    return thickness, lean, (0.3 if style == 2 else 1.0) * sweep, 6.0


_CURTAIN = np.array(
    # place, edge azimuth (rad), front y z, side x y z, back y z
    [
        [0.00, 0.00, 140, -8, 0.1, 140, -8, 140, -8.1],
        [0.06, 0.00, 136, 22, 26, 135, -8, 133, -38],
        [0.14, 0.00, 122, 58, 52, 118, -9, 115, -70],
        [0.24, 0.00, 104, 78, 70, 93, -9, 90, -93],
        [0.29, 0.03, 95, 87, 75, 80, -9, 77, -100],
        [0.33, 0.34, 88, 92, 79, 67, -9, 62, -104],
        [0.40, 0.60, 74, 97, 83, 46, -9, 38, -107],
        [0.48, 0.92, 50, 96, 88, 22, -9, 8, -106],
        [0.56, 1.14, 16, 88, 91, -6, -9, -20, -102],
        [0.66, 1.16, -22, 82, 90, -38, -10, -52, -97],
        [0.78, 1.06, -64, 78, 86, -76, -13, -88, -95],
        [0.90, 0.98, -108, 74, 85, -116, -16, -124, -98],
        [1.00, 0.94, -146, 76, 90, -150, -18, -156, -104],
    ]
)
"""A curtain's rows from the crown to the tips of long hair: where its front edge is and three points of each ring."""
_N_ALONG, _N_ACROSS = 40, 49


@functools.cache
def _curtain_keys() -> PchipInterpolator:
    return PchipInterpolator(_CURTAIN[:, 0], _CURTAIN[:, 1:])


def _curtain(person: Person, rng: np.random.Generator) -> HairShell:
    """Return hair that falls from the crown: to the jaw if medium, to the shoulders if long."""
    end = 1.0 - rng.uniform(0, 0.08) if person.hair_style == "long" else rng.uniform(0.64, 0.78)
    along = np.linspace(0, 1, _N_ALONG) * end
    across = np.linspace(-1, 1, _N_ACROSS)
    s, c = (a.ravel() for a in np.meshgrid(along, across, indexing="ij"))
    edge, front_y, front_z, side_x, side_y, side_z, back_y, back_z = _curtain_keys()(s).T
    part = rng.uniform(-1, 1) * 0.28 * (rng.random() < 0.7)
    side = np.where(c >= 0, 1.0, -1.0)
    edge = edge + part * side * _ramp(s, 0.02, 0.1) * _ramp(s, 0.5, 0.36)
    azimuth = side * (edge + (np.pi - edge) * (1 - np.abs(c)))
    cos, sin = np.cos(azimuth), np.sin(azimuth)
    is_front = cos >= 0
    weight = np.abs(cos)
    p = np.stack([side_x * sin, side_y + (np.where(is_front, front_y, back_y) - side_y) * weight**1.5,
                  side_z + (np.where(is_front, front_z, back_z) - side_z) * weight], -1)  # fmt: skip
    p = _fall(person, rng, p, s, azimuth, end)
    p = _seat(p, s, np.abs(c), person.hair_volume)
    strand = np.stack([c * 6.0, s * 2.2], -1)
    tip = (end - s) / 0.05 + (0.6 if person.hair_style == "long" else 0.3) * _noise(
        rng, strand * np.array([1.0, 0.0]), 0.35
    )
    border = np.minimum((1 - np.abs(c)) * 26 + np.where(s < 0.28, 2.0, 0.0), tip)
    parting = 1 - 0.45 * np.exp(-((np.abs(np.abs(c) - 1) / 0.05) ** 2)) * (s < 0.27)
    quads = np.arange(_N_ALONG * _N_ACROSS).reshape(_N_ALONG, _N_ACROSS)
    q = np.stack([quads[:-1, 1:], quads[1:, 1:], quads[1:, :-1], quads[:-1, :-1]], -1).reshape(-1, 4)
    faces = np.stack([q[:, [0, 1, 2]], q[:, [0, 2, 3]]], 1).reshape(-1, 3)
    return HairShell(_follow_identity(p, person), faces, strand, border, parting)


def _fall(person: Person, rng: np.random.Generator, p: np.ndarray, s: np.ndarray, azimuth: np.ndarray,
          end: float) -> np.ndarray:  # fmt: skip
    """Give the curtain volume, waves and a bend of its tips."""
    out = np.stack([np.sin(azimuth), 0 * azimuth, np.cos(azimuth)], -1)
    volume = (person.hair_volume - 1) * 16 * _ramp(s, 0.0, 0.45) + 2.0
    ring = np.stack([np.cos(azimuth), np.sin(azimuth)], -1)
    clumps = _noise(rng, np.concatenate([ring * 1.0, s[:, None] * 0.7], -1), 0.8)
    wave = (
        person.hair_wave
        * 5.0
        * _ramp(s, 0.35, 0.6)
        * np.sin(2 * np.pi * s * rng.uniform(4.5, 7) + 2.4 * _noise(rng, ring, 1.2))
    )
    bend = rng.uniform(-14, 10) * _ramp(s, end - 0.16, end)
    p = p + out * (volume + 2.6 * clumps * _ramp(s, 0.1, 0.4) + wave + bend)[:, None]
    over_ear = np.exp(-(((p[:, 1] + 2) / 30) ** 2) - ((p[:, 2] + 18) / 24) ** 2)
    p[:, 0] += np.sign(p[:, 0]) * over_ear * 6.0
    p[:, 1] += 3.0 * _ramp(s, 0.3, 0.0)
    return p


def _seat(p: np.ndarray, s: np.ndarray, to_edge: np.ndarray, volume: float) -> np.ndarray:
    """Keep the curtain outside the head, and lay its front edge onto the forehead and the temples."""
    near_edge = _ramp(to_edge, 0.72, 1.0) * _ramp(s, 0.60, 0.48)
    for _ in range(3):
        d = head_distance(p)
        step = 0.3
        gradient = np.stack([head_distance(p + step * e) - d for e in np.eye(3)], -1) / step
        gradient /= np.maximum(np.linalg.norm(gradient, axis=-1, keepdims=True), 1e-6)
        clearance = 2.0 + 5.0 * volume * (1 - near_edge)
        wanted = np.where(d < clearance, clearance, d)
        wanted = wanted + near_edge * (1.6 - wanted)
        p = p + np.clip(wanted - d, -14, 14)[:, None] * gradient
    return p


def _bun(person: Person, rng: np.random.Generator) -> HairShell:
    """Return a knot of hair at the back of the head."""
    polar, around = np.meshgrid(np.linspace(0, np.pi, 13), np.linspace(0, 2 * np.pi, 25), indexing="ij")
    size = rng.uniform(20, 30)
    ring = np.stack([np.sin(polar) * np.cos(around), np.sin(polar) * np.sin(around), np.cos(polar)], -1).reshape(-1, 3)
    twist = 1 + 0.06 * np.sin(3 * around + 4 * polar).ravel()
    height = rng.choice([rng.uniform(-10, 25), rng.uniform(60, 100)])
    place = np.array([0, height, -8.0]) + np.array([0, 0, -1.0]) * np.sqrt(max(1 - ((height - 50) / 92) ** 2, 0)) * 100
    p = place + ring * np.array([size * 1.1, size, size * 0.9]) * twist[:, None]
    ids = np.arange(13 * 25).reshape(13, 25)
    q = np.stack([ids[:-1, :-1], ids[1:, :-1], ids[1:, 1:], ids[:-1, 1:]], -1).reshape(-1, 4)
    faces = np.stack([q[:, [0, 1, 2]], q[:, [0, 2, 3]]], 1).reshape(-1, 3)
    strand = np.stack([around.ravel() / 2.2 + polar.ravel() * 0.4, polar.ravel()], -1)
    n = len(p)
    return HairShell(_follow_identity(p, person), faces, strand, np.full(n, 4.0), np.ones(n))


def _follow_identity(p: np.ndarray, person: Person) -> np.ndarray:
    """Deform free hair [n, 3] (mm, on the mean head) with the subject's identity; return metres."""
    n = len(p)
    none = np.zeros(n)
    places = Places(p, p, np.ones(n), none, none, none, np.zeros((n, 2)), np.zeros((n, 2)), p)
    return (p + identity_modes(places) @ person.shape.double().numpy()) * 1e-3
