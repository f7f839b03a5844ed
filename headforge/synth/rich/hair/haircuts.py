"""The haircuts: where hair grows, how long it is and how it is combed."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from headforge.flame.builtin.modes import ramp
from headforge.flame.builtin.surface import hairline_height, skin_grid
from headforge.synth.rich.hair.field import head_grid
from headforge.synth.rich.hair.strands import Growth, Strands, Texture, grow_guides, grow_hairs
from headforge.synth.rich.scalp import density, follow_identity, rest_normals, scatter, skin_areas
from headforge.synth.rich.traits import Traits
from headforge.synth.shots.samplers import item_rng

_WHORL_MM = np.array([10.0, 122.0, -48.0])
_TIE_HEIGHTS_MM = {"bun": ((8.0, 28.0), (70.0, 96.0)), "ponytail": ((10.0, 40.0), (52.0, 78.0))}


@dataclass(frozen=True)
class Cut:
    """Parameters of a haircut."""

    n_hairs: int
    n_points: int
    texture: Texture
    guards_face: bool = False
    """Whether the hair slides off the face to its sides."""
    n_guides: int = 520


_CUTS = {
    "buzz": Cut(24000, 3, Texture(0.0, 0.0, 10.0, 0.3, 0.6)),
    "crop": Cut(19000, 7, Texture(0.35, 0.3, 30.0, 2.2, 0.6)),
    "side_part": Cut(18000, 9, Texture(0.45, 0.3, 40.0, 1.2, 0.75)),
    "slick_back": Cut(18000, 10, Texture(0.55, 0.2, 40.0, 0.8, 0.8)),
    "fringe": Cut(18000, 8, Texture(0.5, 0.3, 40.0, 1.5, 0.8)),
    "pixie": Cut(18000, 9, Texture(0.5, 0.5, 40.0, 2.0, 0.75)),
    "curly": Cut(15000, 16, Texture(0.55, 3.4, 15.0, 2.5, 0.8)),
    "afro": Cut(20000, 14, Texture(0.25, 1.9, 6.5, 3.5, 0.75), n_guides=900),
    "bun": Cut(13000, 14, Texture(0.3, 0.2, 40.0, 0.7, 1.0)),
    "ponytail": Cut(12000, 24, Texture(0.35, 0.8, 60.0, 2.5, 0.9)),
    "bob": Cut(14000, 18, Texture(0.4, 0.6, 70.0, 2.0, 0.9), guards_face=True),
    "long_straight": Cut(13000, 24, Texture(0.4, 0.6, 80.0, 2.5, 0.85), guards_face=True),
    "long_wavy": Cut(13000, 28, Texture(0.6, 5.0, 75.0, 3.5, 0.85), guards_face=True),
    "long_curly": Cut(13000, 34, Texture(0.6, 5.5, 28.0, 4.0, 0.8), guards_face=True),
}


def build_hair(
    traits: Traits, seed: int, vertices: np.ndarray, normals: np.ndarray, tones: np.ndarray
) -> Strands | None:
    """Return the subject's hair on the skin's `vertices` [N, 3] (metres) with `normals` [N, 3].

    `tones` [2, 3] are the linear colours of a hair and of a grey one.
    """
    if traits.haircut == "bald":
        return None
    rng = item_rng(seed, "rich hair", traits.person.subject)
    cut = _CUTS[traits.haircut]
    rest, _ = skin_areas()
    possible = np.any((hairline_height(rest) > -8)[skin_grid()[2]], -1)
    guide_points = scatter(rng, possible, cut.n_guides)
    growth = _growth(traits, rng, guide_points.rest_mm)
    ups = guide_points.on(rest_normals())
    grid = head_grid(guards_face=cut.guards_face)
    guides = grow_guides(grid, guide_points.rest_mm, ups, growth, cut.n_points)
    guides_m = follow_identity(guides.reshape(-1, 3), traits).reshape(guides.shape)
    points = scatter(rng, possible, int(cut.n_hairs * 1.35))
    points = points.take(rng.random(len(points.faces)) < density(traits, seed, points.rest_mm))
    roots = points.on(vertices) + points.on(normals) * 2e-4
    hairs = grow_hairs(guides_m, guide_points.rest_mm, growth.flow, roots, points.rest_mm, cut.texture, rng)
    if traits.haircut == "bun":
        assert growth.goal is not None
        hairs = np.concatenate([hairs, _bun(traits, rng, growth.goal, cut.n_points)])
        hairs = hairs[rng.permutation(len(hairs))]
    return Strands(hairs, _tones(traits, rng, tones, len(hairs)), np.full(len(hairs), 0.33, np.float32))


def _tones(traits: Traits, rng: np.random.Generator, tones: np.ndarray, n: int) -> np.ndarray:
    is_grey = rng.random(n) < traits.grey_share
    color = np.where(is_grey[:, None], tones[1], tones[0])
    return (color * np.exp(rng.normal(0, 0.22, n))[:, None]).astype(np.float32)


@dataclass(frozen=True)
class Roots:
    """Where G guides grow, on the mean head in mm."""

    p: np.ndarray
    """[G, 3]."""
    top: np.ndarray
    """[G] 0 on the sides to 1 on top."""
    front: np.ndarray
    """[G] 0 behind to 1 over the forehead."""
    radial: np.ndarray
    """[G, 3] away from the whorl."""
    side: float
    """-1 or 1: to which side asymmetric cuts are combed."""
    volume: float
    """About 1."""


@dataclass(frozen=True)
class Combing:
    """Growth of a haircut at the roots; a number applies to all of them."""

    flow: np.ndarray
    """[G, 3]."""
    length_mm: np.ndarray | float
    lift: np.ndarray | float
    gravity: float
    layer_mm: np.ndarray | float
    cling: float = 0.0


def _growth(traits: Traits, rng: np.random.Generator, p: np.ndarray) -> Growth:
    """Return the growth of the guides at template places `p` [G, 3]."""
    n = len(p)
    roots = Roots(p, ramp(p[:, 1], 55, 105), ramp(p[:, 2], 15, 75), p - _WHORL_MM, float(rng.choice([-1.0, 1.0])),
                  traits.person.hair_volume)  # fmt: skip
    jitter = np.exp(rng.normal(0, 0.10, n))
    combed = _STYLES[traits.haircut](roots, rng)
    goal, tail = None, 0.0
    if traits.haircut in _TIE_HEIGHTS_MM:
        low, high = _TIE_HEIGHTS_MM[traits.haircut][int(rng.random() < 0.35)]
        y = rng.uniform(low, high)
        z = -12.0 - 97.0 * np.sqrt(max(1 - ((y - 48.0) / 92.0) ** 2, 0.0)) - (2.0 if traits.haircut == "bun" else 9.0)
        goal, tail = np.array([0.0, y, z]), 12.0 if traits.haircut == "bun" else rng.uniform(130, 230)
    stray = rng.normal(0, 0.07, (n, 3))
    unit = combed.flow / np.maximum(np.linalg.norm(combed.flow, axis=-1, keepdims=True), 1e-9)
    return Growth(
        unit + stray, np.broadcast_to(combed.length_mm, n) * jitter, np.broadcast_to(combed.lift, n).clip(0, 1),
        np.full(n, combed.gravity), np.broadcast_to(combed.layer_mm, n) * rng.uniform(0.12, 1.0, n) ** 0.7,
        np.full(n, combed.cling), goal, tail,
    )  # fmt: skip


def _vector(x: np.ndarray | float, y: np.ndarray | float, z: np.ndarray | float) -> np.ndarray:
    return np.stack(np.broadcast_arrays(x, y, z), -1).astype(float)


def _short_sides(roots: Roots, top_mm: float, sides_mm: float) -> np.ndarray:
    """Return a length that falls from the top to the sides, and to a few mm at the nape and the sideburns."""
    low = ramp(roots.p[:, 1], -50, 30)
    return (sides_mm + (top_mm - sides_mm) * roots.top) * (0.3 + 0.7 * low)


def _buzz(roots: Roots, rng: np.random.Generator) -> Combing:
    return Combing(roots.radial, rng.uniform(2.5, 6.0), 0.55, 0.0, 1.5)


def _crop(roots: Roots, rng: np.random.Generator) -> Combing:
    length = _short_sides(roots, rng.uniform(20, 38) * roots.volume, rng.uniform(6, 13))
    lift = 0.3 + 0.35 * roots.top * rng.uniform(0.3, 1.1)
    return Combing(roots.radial, length, lift, 0.25, 1.5 + 11 * roots.top * roots.volume)


def _side_part(roots: Roots, rng: np.random.Generator) -> Combing:
    part_x = roots.side * rng.uniform(24, 36)
    away = np.where(roots.p[:, 0] * roots.side > part_x * roots.side, roots.side, -roots.side)
    flow = _vector(away * (0.4 + roots.top), 0.15, 0.1 - 0.6 * roots.front) * roots.top[:, None]
    flow = flow + (1 - roots.top)[:, None] * _vector(0.0, -1.0, -0.45)
    length = _short_sides(roots, rng.uniform(45, 75) * roots.volume, rng.uniform(9, 18))
    lift = 0.08 + 0.35 * roots.front * roots.top
    return Combing(flow, length, lift, 0.15, 1.5 + 11 * roots.top * roots.volume, 0.35)


def _slick_back(roots: Roots, rng: np.random.Generator) -> Combing:
    flow = _vector(0.18 * np.sign(roots.p[:, 0]), -0.6 * (1 - roots.top), -1.0)
    length = _short_sides(roots, rng.uniform(55, 85), rng.uniform(18, 30))
    lift = 0.08 + rng.uniform(0.0, 0.45) * roots.front * roots.top
    return Combing(flow, length, lift, 0.05, 1.5 + 8 * roots.top * roots.volume, 0.45)


def _fringe(roots: Roots, rng: np.random.Generator) -> Combing:
    flow = roots.radial + _vector(roots.side * 25 * roots.front, 0.0, 40 * roots.front)
    length = _short_sides(roots, rng.uniform(48, 66), rng.uniform(14, 26))
    length = np.minimum(length, 26 + np.linalg.norm(roots.p - np.array([0, 88, 88]), axis=-1))
    return Combing(flow, length, 0.05 + 0.08 * roots.top, 0.30, 2.0 + 9 * roots.top * roots.volume, 0.35)


def _pixie(roots: Roots, rng: np.random.Generator) -> Combing:
    flow = roots.radial + _vector(roots.side * 60 * roots.front, 0.0, 15 * roots.front)
    length = _short_sides(roots, rng.uniform(50, 75), rng.uniform(24, 36))
    return Combing(flow, length, 0.06 + 0.14 * roots.top, 0.28, 2.5 + 10 * roots.top * roots.volume, 0.35)


def _curly(roots: Roots, rng: np.random.Generator) -> Combing:
    length = _short_sides(roots, rng.uniform(35, 75), rng.uniform(12, 40))
    return Combing(roots.radial, length, 0.6, 0.22, 4.0 + (4 + 16 * roots.top) * roots.volume)


def _afro(roots: Roots, rng: np.random.Generator) -> Combing:
    size = rng.uniform(16, 48) * roots.volume
    length = size * (0.35 + 0.65 * ramp(hairline_height(roots.p), -4, 38)) * (0.75 + 0.25 * roots.top)
    return Combing(roots.p - np.array([0, 30, -10]), length, 1.0, 0.0, 1.0)


def _tied(roots: Roots, rng: np.random.Generator) -> Combing:
    layer = 1.5 + 5.5 * roots.volume * (0.35 + 0.65 * roots.top)
    return Combing(_vector(np.zeros(len(roots.p)), 0.1, -1.0), 100.0, 0.0, 0.9, layer)


def _hanging(roots: Roots, part_x: float, length: np.ndarray) -> Combing:
    """Return hair that falls to both sides of a parting."""
    away = np.tanh((roots.p[:, 0] - part_x) / 4)
    back = (-0.55 * roots.front - 0.3) * (0.3 + 0.7 * roots.top)
    flow = _vector(away * (0.25 + roots.top), -0.5 * (1 - roots.top), back)
    return Combing(flow, length, 0.22 * roots.top, 0.6, 2.5 + 8.0 * roots.volume, 0.36)


def _bob(roots: Roots, rng: np.random.Generator) -> Combing:
    end = rng.uniform(-72, -38)
    length = np.maximum(roots.p[:, 1] - end, 20) + 26 * roots.top
    combed = _hanging(roots, roots.side * rng.uniform(0, 26), length)
    if rng.random() < 0.4:
        is_fringe = (roots.p[:, 2] > 62) & (np.abs(roots.p[:, 0]) < 46) & (roots.p[:, 1] > 80)
        flow = np.where(is_fringe[:, None], _vector(np.zeros(len(length)), -0.2, 1.0), combed.flow)
        length = np.where(is_fringe, np.minimum(length, rng.uniform(44, 54)), length)
        return dataclasses.replace(combed, flow=flow, length_mm=length)
    return combed


def _long(roots: Roots, rng: np.random.Generator) -> Combing:
    end = rng.uniform(-190, -135)
    return _hanging(roots, roots.side * rng.uniform(0, 28), roots.p[:, 1] - end + 30 * roots.top)


_STYLES: Mapping[str, Callable[[Roots, np.random.Generator], Combing]] = {
    "buzz": _buzz, "crop": _crop, "side_part": _side_part, "slick_back": _slick_back, "fringe": _fringe,
    "pixie": _pixie, "curly": _curly, "afro": _afro, "bun": _tied, "ponytail": _tied, "bob": _bob,
    "long_straight": _long, "long_wavy": _long, "long_curly": _long,
}  # fmt: skip


def _bun(traits: Traits, rng: np.random.Generator, tie: np.ndarray, n_points: int) -> np.ndarray:
    """Return [n, K, 3] metres: hair wound into a knot behind the tie."""
    n = 2200
    size = rng.uniform(24, 36)
    centre = tie + np.array([0, 0.12, -0.55]) * size
    tilt = rng.normal(0, 0.35, n)
    latitude = np.arcsin(rng.uniform(-1, 1, n))
    start, sweep = rng.uniform(0, 2 * np.pi, n), rng.uniform(1.2, 2.6, n)
    t = np.linspace(0, 1, n_points)
    angle = start[:, None] + sweep[:, None] * t
    lat = latitude[:, None] + tilt[:, None] * np.sin(angle)
    radius = size * (rng.uniform(0.86, 1.03, n)[:, None]) * (1 + 0.05 * np.sin(2 * angle + 3 * lat))
    p = centre + radius[..., None] * np.stack(
        [1.08 * np.cos(lat) * np.cos(angle), np.cos(lat) * np.sin(angle), 0.85 * np.sin(lat)], -1
    )
    return follow_identity(p.reshape(-1, 3), traits).reshape(p.shape).astype(np.float32)
