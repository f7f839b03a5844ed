"""Parts of the builtin head besides the skin: eyeballs, ears, mouth cavity, teeth and tongue. Millimetres."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from headforge.flame.builtin.field import EYE_CENTRE, EYE_RADIUS
from headforge.flame.builtin.surface import Skin

EAR_CENTRE = np.array([71.5, -2.0, -8.0])
"""Opening of the left ear's canal."""
N_EAR_ANGLES = 26


@dataclass(frozen=True)
class Part:
    """A separate mesh: n vertices in mm, faces, texture coordinates in its own unit square."""

    vertices: np.ndarray
    """[n, 3]."""
    faces: np.ndarray
    """[f, 3]."""
    uvs: np.ndarray
    """[t, 2] in [0, 1]."""
    uv_faces: np.ndarray
    """[f, 3]."""

    def mirrored(self) -> Part:
        """Return the same part on the other side of the head, triangles turned so that they still face outwards."""
        flip = self.uvs * np.array([-1.0, 1]) + np.array([1.0, 0])
        return Part(self.vertices * np.array([-1.0, 1, 1]), self.faces[:, ::-1], flip, self.uv_faces[:, ::-1])


def split_quads(quads: np.ndarray) -> np.ndarray:
    """Split quads [Q, 4] into triangles [2Q, 3], without those that have two equal corners."""
    faces = np.stack([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]], 1).reshape(-1, 3)
    a, b, c = faces.T
    return faces[(a != b) & (b != c) & (a != c)]


def _polar_part(rings: np.ndarray, ring_radius: np.ndarray, close: bool) -> Part:
    """Return a disc of rings [R, A, 3] about a centre (ring 0 all equal); `close` welds the last ring to one point too.

    The disc faces its viewer when the angle runs counter-clockwise. `ring_radius` [R] is each ring's radius in the
    texture.
    """
    n_rings, n_angles = rings.shape[:2]
    ids = np.zeros((n_rings, n_angles + 1), int)
    vertices = [rings[0, 0]]
    for r in range(1, n_rings):
        if close and r == n_rings - 1:
            ids[r] = len(vertices)
            vertices.append(rings[r, 0])
            continue
        ids[r, :-1] = len(vertices) + np.arange(n_angles)
        ids[r, -1] = ids[r, 0]
        vertices.extend(rings[r])
    uv_ids = np.arange(n_rings * (n_angles + 1)).reshape(n_rings, n_angles + 1)
    quads, uv_quads = (
        np.stack([g[:-1, :-1], g[1:, :-1], g[1:, 1:], g[:-1, 1:]], -1).reshape(-1, 4) for g in (ids, uv_ids)
    )
    keep = np.stack(
        [quads[:, 1] != quads[:, 2], quads[:, 0] != quads[:, 3]], 1
    )  # the centre's quads lose their second triangle, a closed rim's its first
    corners = np.stack([[0, 1, 2], [0, 2, 3]])
    faces = quads[:, corners][keep]
    uv_faces = uv_quads[:, corners][keep]
    angle = np.linspace(0, 2 * np.pi, n_angles + 1)
    circle = np.stack([np.cos(angle), np.sin(angle)], -1)
    uvs = 0.5 + 0.5 * ring_radius[:, None, None] * circle
    return Part(np.array(vertices), faces, uvs.reshape(-1, 2), uv_faces)


def eyeball() -> Part:
    """Return the left eyeball: a sphere with a slight cornea, pole ahead; the texture is a disc about the pupil."""
    polar = np.concatenate([np.linspace(0, 0.6, 5), np.linspace(0.8, np.pi, 8)])
    angle = np.linspace(0, 2 * np.pi, 16, endpoint=False)
    radius = EYE_RADIUS + 0.7 * np.exp(-((polar / 0.36) ** 2))
    ring = np.stack(
        [
            np.sin(polar)[:, None] * np.cos(angle),
            np.sin(polar)[:, None] * np.sin(angle),
            np.cos(polar)[:, None] * np.ones(16),
        ],
        -1,
    )
    return _polar_part(EYE_CENTRE + radius[:, None, None] * ring, polar / np.pi, close=True)


def ear() -> Part:
    """Return the left ear: a curled disc about the canal, from concha over antihelix and helix to its back."""
    angle = np.linspace(0, 2 * np.pi, N_EAR_ANGLES, endpoint=False)
    front = np.array([0, 0.14, 0.28, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.97])
    rings = [_ear_front(rho, angle) for rho in front]
    rings += [_ear_back(rho, angle) for rho in (0.99, 0.86, 0.6, 0.3)]
    radius = np.concatenate([front * 0.82, [0.86, 0.91, 0.96, 1.0]])
    disc = _polar_part(np.stack(rings), radius, close=False)
    return disc


def _ear_outline(angle: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the rim's backward and upward distance from the canal; the angle runs from back over up, front, down."""
    c, s = np.cos(angle), np.sin(angle)
    back = np.where(c > 0, 23.5 * c, 10.5 * c) * np.where(s < 0, 1 - 0.42 * s**2, 1.0)
    up = np.where(s > 0, 32.0 * s, 29.0 * s)
    return back + 0.16 * up + np.where(s < 0, 2.0 * s, 0.0), up


def _ear_height(rho: np.ndarray | float, angle: np.ndarray) -> np.ndarray:
    """Return the relief of the ear's outer face over its plane."""
    c, s = np.cos(angle), np.sin(angle)
    rear = np.clip(c * 0.75 + np.clip(s, 0, 1) * 0.6 + 0.1, 0, 1)
    lobe = np.exp(-(((s + 1) / 0.4) ** 2))
    concha = -8.0 * np.exp(-((rho / 0.36) ** 4))
    antihelix = 3.6 * np.exp(-(((rho - 0.58) / 0.11) ** 2)) * rear
    scapha = -2.2 * np.exp(-(((rho - 0.78) / 0.08) ** 2)) * rear
    helix = 3.4 * np.exp(-(((rho - 0.93) / 0.09) ** 2)) * np.clip(rear + 0.4 * (c < 0) * (s > 0), 0, 1)
    tragus = 5.0 * np.exp(-(((rho - 0.62) / 0.22) ** 2)) * np.exp(-(((np.mod(angle, 2 * np.pi) - 3.3) / 0.38) ** 2))
    antitragus = 3.0 * np.exp(-(((rho - 0.5) / 0.12) ** 2)) * np.exp(-(((np.mod(angle, 2 * np.pi) - 4.9) / 0.5) ** 2))
    fat = 2.5 * lobe * np.exp(-(((rho - 0.75) / 0.25) ** 2))
    return concha * (1 - 0.3 * lobe) + antihelix + scapha + helix + tragus + antitragus + fat


def _ear_place(back: np.ndarray, up: np.ndarray, out: np.ndarray) -> np.ndarray:
    """Map the ear's plane to the head: the plane leaves the head towards the back."""
    flare = 0.5 * back + 0.012 * np.clip(up, 0, None) ** 1.5
    return EAR_CENTRE + np.stack([flare + out + 1.0, up, -back], -1)


def _ear_front(rho: float, angle: np.ndarray) -> np.ndarray:
    back, up = _ear_outline(angle)
    return _ear_place(rho * back, rho * up, _ear_height(rho, angle))


def _ear_back(rho: float, angle: np.ndarray) -> np.ndarray:
    """Return the rear of the pinna, behind the front by its thickness and tucked into the head towards the canal."""
    back, up = _ear_outline(angle)
    thickness = 3.0 + 12.0 * (1 - rho)
    return _ear_place(rho * back, rho * up, _ear_height(0.95, angle) * rho**2 - thickness)


def mouth_cavity(skin: Skin) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return a sock behind the lips: new vertices [n, 3], faces, texture coordinates in a unit square, their faces.

    Face ids below the skin's vertex count are the skin's; the first ring is the cut between the lips.
    """
    upper = skin.upper_lip
    loop = skin.lip_loop()
    places = skin.vertices[loop]
    across = places[:, 0] / 25.5
    up = np.concatenate([np.sqrt(np.clip(1 - across[: len(upper)] ** 2, 0, 1)),
                         -np.sqrt(np.clip(1 - across[len(upper):] ** 2, 0, 1))])  # fmt: skip
    rings = [places]
    for depth, width, height in ((3.5, 0.97, 2.5), (7.0, 0.98, 9.0), (18.0, 1.0, 12.0), (34.0, 0.95, 12.0)):
        ring = places * np.array([width, 1, 1]) + np.stack([0 * up, height * up, np.full_like(up, -depth)], -1)
        rings.append(ring)
    rings.append(np.broadcast_to(np.array([0, -52.0, 50.0]), places.shape))
    n = len(loop)
    n_skin = len(skin.vertices)
    ids = np.zeros((len(rings), n + 1), int)
    ids[0, :-1] = loop
    for r in range(1, len(rings) - 1):
        ids[r, :-1] = n_skin + (r - 1) * n + np.arange(n)
    ids[:-1, -1] = ids[:-1, 0]
    ids[-1] = n_skin + (len(rings) - 2) * n
    uv_ids = np.arange(len(rings) * (n + 1)).reshape(len(rings), n + 1)
    quads, uv_quads = (
        np.stack([g[:-1, 1:], g[:-1, :-1], g[1:, :-1], g[1:, 1:]], -1).reshape(-1, 4) for g in (ids, uv_ids)
    )
    keep = np.stack([np.ones(len(quads), bool), quads[:, 2] != quads[:, 3]], 1)
    corners = np.stack([[0, 1, 2], [0, 2, 3]])
    keep[quads[:, 2] == quads[:, 3]] = [True, False]
    angle = np.linspace(0, 2 * np.pi, n + 1)
    radius = np.linspace(1, 0, len(rings))
    uvs = 0.5 + 0.5 * radius[:, None, None] * np.stack([-np.cos(angle), np.sin(angle)], -1)
    vertices = np.concatenate([*rings[1:-1], rings[-1][:1]])
    return vertices, quads[:, corners][keep], uvs.reshape(-1, 2), uv_quads[:, corners][keep]


def lid_rims(skin: Skin, n_before: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the thickness of the lids: strips from their edges into the eyeballs.

    Returns new vertices [n, 3] that follow `n_before` others, faces, and the skin vertex [n] each one copies.
    """
    vertices, faces, sources = [], [], []
    for eye, sign in enumerate((1.0, -1.0)):
        loop = skin.lid_loop(eye)
        centre = EYE_CENTRE * np.array([sign, 1, 1])
        d = skin.vertices[loop] - centre
        inner = n_before + eye * len(loop) + np.arange(len(loop))
        following, inner_following = np.roll(loop, -1), np.roll(inner, -1)
        quads = np.stack([loop, following, inner_following, inner], -1)
        faces.append(split_quads(quads[:, ::-1] if eye == 0 else quads))
        vertices.append(centre + d / np.linalg.norm(d, axis=-1, keepdims=True) * (EYE_RADIUS - 1.5))
        sources.append(loop)
    return np.concatenate(vertices), np.concatenate(faces), np.concatenate(sources)


def teeth(is_upper: bool, n: int = 33) -> Part:
    """Return one row of teeth: a bent strip over gum, crown, edge and back."""
    t = np.linspace(-1, 1, n)
    x = 20.5 * np.sin(t * 1.35) / np.sin(1.35)
    z = 92.5 - 22.0 * (1 - np.cos(t * 1.35)) / (1 - np.cos(1.35))
    sign, drop, inset = (1.0, -54.6, 0.0) if is_upper else (-1.0, -53.4, -2.6)
    bulge = 0.5 * np.abs(np.cos(np.pi * 5 * t))
    inward = np.stack([-x * 0.35, np.zeros(n), -np.sqrt(np.clip(1 - (x / 30) ** 2, 0, 1)) * 10], -1)
    inward /= np.linalg.norm(inward, axis=-1, keepdims=True)
    profile = ((1.5, 13.0), (0.2, 9.0), (0.0, 3.0), (0.7, 0.2), (2.6, 0.2), (3.5, 8.0), (4.0, 13.0))
    rows = []
    for depth, rise in profile:
        base = np.stack([x, np.full(n, drop + sign * rise), z + inset], -1)
        rows.append(base + inward * (depth - bulge * (0.2 < rise < 9.5))[:, None])
    ids = np.arange(len(rows) * n).reshape(len(rows), n)
    a, b, c, d = ids[:-1, :-1], ids[1:, :-1], ids[1:, 1:], ids[:-1, 1:]
    quads = np.stack([a, b, c, d] if is_upper else [a, d, c, b], -1).reshape(-1, 4)
    v = np.linspace(1, 0, len(rows)) if is_upper else np.linspace(0, 1, len(rows))
    uvs = np.stack(np.broadcast_arrays((t * 0.5 + 0.5)[None], v[:, None]), -1).reshape(-1, 2)
    faces = split_quads(quads)
    return Part(np.concatenate(rows), faces, uvs, faces)


def tongue(n_across: int = 9, n_along: int = 8) -> Part:
    """Return the tongue's upper side, from its tip behind the lower teeth to its root."""
    a, b = np.meshgrid(np.linspace(-1, 1, n_across), np.linspace(0, 1, n_along), indexing="ij")
    half_width = 17.0 * np.clip(1 - (1 - b) ** 4, 0, 1) ** 0.5 + 0.4
    x = a * half_width
    y = (
        -61.0
        + 7.0 * np.sqrt(np.clip(1 - 0.9 * a**2, 0, 1)) * np.clip(b * 3, 0, 1) ** 0.5
        - 1.2 * np.exp(-((a / 0.2) ** 2))
    )
    z = 88.0 - 38.0 * b
    ids = np.arange(a.size).reshape(a.shape)
    quads = np.stack([ids[:-1, :-1], ids[1:, :-1], ids[1:, 1:], ids[:-1, 1:]], -1).reshape(-1, 4)
    faces = split_quads(quads)
    uvs = np.stack([a * 0.5 + 0.5, 1 - b], -1).reshape(-1, 2)
    return Part(np.stack([x, y, z], -1).reshape(-1, 3), faces, uvs, faces)
