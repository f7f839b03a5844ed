"""A subject of the rich appearance, prepared: everything its views share."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
import torch

from headforge.flame.builtin.head import builtin_head
from headforge.flame.builtin.surface import skin_grid
from headforge.flame.model import HeadModel, pose_head
from headforge.render.jit import kernel
from headforge.synth.people.lighting import Light, sample_light
from headforge.synth.people.paint import texture_map
from headforge.synth.people.subjects import Person
from headforge.synth.rich.backgrounds import make_panorama
from headforge.synth.rich.bust import bust_topology
from headforge.synth.rich.defects import ear_offsets, spoil_teeth
from headforge.synth.rich.glasses import Glasses, build_glasses
from headforge.synth.rich.hair.haircuts import build_hair
from headforge.synth.rich.hair.strands import Strands
from headforge.synth.rich.hair.whiskers import Whiskers, build_whiskers
from headforge.synth.rich.occlusion import (
    Occluders,
    cavities,
    light_shares,
    make_occluders,
    occupied_voxels,
    spread_to_hairs,
)
from headforge.synth.rich.reflect import (
    CLOTH,
    EAR,
    EYEBALL,
    FRAME,
    GAMMA,
    MOUTH,
    SKIN,
    TEETH,
    TONGUE,
    irradiance_polynomial,
)
from headforge.synth.rich.texture import eye_picture, make_texture
from headforge.synth.rich.traits import Traits

_THROAT_Z_M, _LIPS_Z_M = 0.055, 0.096
"""Depths of the mean head between which the light in an open mouth grows."""
_GREY_LINEAR = np.array([0.50, 0.49, 0.48])


@dataclass(frozen=True)
class LitHair:
    """Hair and the light on it."""

    strands: Strands
    diffuse: np.ndarray
    """[S, K, 3] float32 linear colour under matte light."""
    key_share: np.ndarray
    """[S, K] float32."""


@dataclass(frozen=True)
class RichSubject:
    """A person ready to be drawn."""

    traits: Traits
    seed: int
    light: Light
    neutral: np.ndarray
    """[V, 3] float32 metres: the head at rest, without defects."""
    shares: np.ndarray
    """[V + bust + frame, 4] float32: share of light and of key light by vertex of head, bust and glasses' frame."""
    ear_offsets: np.ndarray | None
    """[V, 3] float32, or None in the domain "real"."""
    texture: np.ndarray
    eye_picture: np.ndarray
    hair: LitHair | None
    whiskers: Whiskers
    whisker_light: tuple[np.ndarray, np.ndarray]
    """Matte colour [S, K, 3] and share of key light [S, K] of the whiskers."""
    glasses: Glasses | None
    panorama: np.ndarray | None
    background: str
    poly: np.ndarray
    """[3, 9], see `irradiance_polynomial`."""

    @property
    def number(self) -> int:
        """Return the person's number in the dataset."""
        return self.person.subject

    @property
    def person(self) -> Person:
        """The person, without the traits that only this appearance shows."""
        return self.traits.person

    @property
    def source(self) -> str:
        """The domain its pictures belong to."""
        return "real" if self.traits.is_real else "synthetic"

    @property
    def attributes(self) -> dict[str, str]:
        """The subject's attributes in a dataset row."""
        return self.traits.attributes


@functools.cache
def surface_kinds(n_frame_faces: int) -> np.ndarray:
    """Return the index [F + b + n] int64 into `reflect.KINDS` by triangle of the head, the bust, then a frame."""
    head = builtin_head()
    kind = np.full(head.n_vertices, SKIN)
    for name, value in (("left_ear", EAR), ("right_ear", EAR), ("left_eyeball", EYEBALL), ("right_eyeball", EYEBALL),
                        ("mouth_interior", MOUTH), ("teeth", TEETH), ("tongue", TONGUE)):  # fmt: skip
        kind[head.regions[name].numpy()] = value
    by_face = kind[head.faces.numpy()].max(-1)
    bust = np.full(len(bust_topology()[1]), CLOTH)
    return np.concatenate([by_face, bust, np.full(n_frame_faces, FRAME)]).astype(np.int64)


def prepare_rich(traits: Traits, seed: int, background: str) -> RichSubject:
    """Return everything that a subject's views share: a function of its traits, the seed and the background."""
    head = builtin_head()
    person = traits.person
    n_skin = len(skin_grid()[0])
    light = sample_light(seed, person.subject)
    with torch.no_grad():
        neutral = pose_head(head, head.neutral((1,)).replace(shape=person.shape[None]))[0].numpy()
    normals = np.empty_like(neutral)
    vertex_normals_into(neutral, head.faces.numpy(), normals)
    hair_srgb = np.asarray(person.hair_srgb, float)
    tones = np.stack([hair_srgb**GAMMA, 0.8 * _GREY_LINEAR + 0.2 * hair_srgb**GAMMA])
    strands = build_hair(traits, seed, neutral[:n_skin], normals[:n_skin], tones)
    clean = build_glasses(traits, seed, neutral, has_defects=False)
    frame = np.zeros((0, 3), np.float32) if clean is None else clean.vertices
    occluding_faces = head.faces.numpy()
    if clean is not None:
        occluding_faces = np.concatenate([occluding_faces, clean.faces + len(neutral)])
    occluders = make_occluders(np.concatenate([neutral, frame]), occluding_faces, strands)
    shares = _surface_shares(head, light, occluders, neutral, normals)
    poly = irradiance_polynomial(light)
    whiskers = build_whiskers(traits, seed, neutral[:n_skin], normals[:n_skin], tones)
    texture = make_texture(traits, seed, _mixed_srgb(tones, traits.grey_share))
    glasses = clean
    if not traits.is_real:
        glasses = build_glasses(traits, seed, neutral, has_defects=True)
        texture = spoil_teeth(texture, traits, seed, texture_map())
    n_frame = 0 if glasses is None else len(glasses.vertices)
    return RichSubject(
        traits=traits, seed=seed, light=light, neutral=neutral,
        shares=np.concatenate([shares, _bust_shares(shares), np.full((n_frame, 4), 0.75, np.float32)]),
        ear_offsets=None if traits.is_real else ear_offsets(traits, seed),
        texture=texture, eye_picture=eye_picture(traits, seed),
        hair=None if strands is None else _light_hair(strands, light, poly, occluders),
        whiskers=whiskers, whisker_light=_light_whiskers(whiskers, normals, shares, poly),
        glasses=glasses, poly=poly, background=background,
        panorama=make_panorama(seed, person.subject, light) if background == "surroundings" else None,
    )  # fmt: skip


def _mixed_srgb(tones: np.ndarray, grey_share: float) -> np.ndarray:
    """Return the sRGB [3] float32 of hair with a share of grey."""
    return ((tones[0] * (1 - grey_share) + tones[1] * grey_share) ** (1 / GAMMA)).astype(np.float32)


def _surface_shares(
    head: HeadModel, light: Light, occluders: Occluders, neutral: np.ndarray, normals: np.ndarray
) -> np.ndarray:
    """Return the shares [V, 4] float32 of the light and of the key light at the head's vertices."""
    lifted = neutral + 0.0035 * normals
    share, key = light_shares(light, occluders, lifted, normals)
    share = share * cavities()[:, None]
    both = np.concatenate([share, key[:, None]], -1)
    for name, most in (("teeth", 0.85), ("tongue", 0.6), ("mouth_interior", 0.4)):
        ids = head.regions[name].numpy()
        depth = np.clip((head.v_template[ids, 2:].numpy() - _THROAT_Z_M) / (_LIPS_Z_M - _THROAT_Z_M), 0.05, 1)
        both[ids] = most * depth
    for name in ("left_eyeball", "right_eyeball"):
        # The lids' shadow is added by pixel; the vertices behind the lids would leave the white of the eye dark.
        ids = head.regions[name].numpy()
        ahead = both[ids][neutral[ids, 2] > neutral[ids, 2].max() - 0.004]
        both[ids] = np.maximum(ahead.max(0), 0.6)
    return both.astype(np.float32)


def _bust_shares(shares: np.ndarray) -> np.ndarray:
    """Return the shares of the bust's vertices: those of the collar over them."""
    ring, faces = bust_topology()
    n_rings = (faces.max() + 1 - len(shares)) // len(ring)
    return np.tile(shares[ring], (n_rings, 1))


def _light_hair(strands: Strands, light: Light, poly: np.ndarray, occluders: Occluders) -> LitHair:
    numbers, centres = occupied_voxels(strands)
    share, key = light_shares(light, occluders, centres, None)
    values = np.concatenate([share, key[:, None]], -1).astype(np.float32)
    at_points = np.empty((*strands.points.shape[:2], 4), np.float32)
    spread_to_hairs(strands.points, numbers, values, at_points)
    diffuse = np.empty_like(strands.points)
    _diffuse(strands.points, strands.tone, at_points, poly, diffuse)
    return LitHair(strands, diffuse, np.ascontiguousarray(at_points[..., 3]))


@kernel(error_model="numpy")
def _diffuse(points, tone, shares, poly, out):
    """Write the matte colour of hairs: light falls on the side that faces away from the head, less at the roots."""
    n_points = points.shape[1]
    for s in range(points.shape[0]):
        for k in range(n_points):
            x, y, z = points[s, k, 0], points[s, k, 1], points[s, k, 2]
            nx, ny, nz = x, y - min(max(y, -0.10), 0.045), z + 0.012
            ahead, behind = min(k + 1, n_points - 1), max(k - 1, 0)
            tx = points[s, ahead, 0] - points[s, behind, 0]
            ty = points[s, ahead, 1] - points[s, behind, 1]
            tz = points[s, ahead, 2] - points[s, behind, 2]
            size = np.sqrt(tx * tx + ty * ty + tz * tz) + 1e-12
            along = (nx * tx + ny * ty + nz * tz) / size
            nx, ny, nz = nx - 0.75 * along * tx / size, ny - 0.75 * along * ty / size, nz - 0.75 * along * tz / size
            size = np.sqrt(nx * nx + ny * ny + nz * nz) + 1e-12
            nx, ny, nz = nx / size, ny / size, nz / size
            u = k / (n_points - 1)
            depth = 0.62 + 0.38 * min(2.0 * u, 1.0)
            for c in range(3):
                light = max(
                    poly[c, 0] + poly[c, 1] * nx + poly[c, 2] * ny + poly[c, 3] * nz + poly[c, 4] * nx * ny
                    + poly[c, 5] * ny * nz + poly[c, 6] * nx * nz + poly[c, 7] * nz * nz
                    + poly[c, 8] * (nx * nx - ny * ny), 0.02)  # fmt: skip
                # A little light is passed on from hair to hair, more by fair ones.
                share = shares[s, k, c]
                passed = share + tone[s, c] * 0.5 * (1 - share) * share
                out[s, k, c] = tone[s, c] * light * passed * depth


def _light_whiskers(
    whiskers: Whiskers, normals: np.ndarray, shares: np.ndarray, poly: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    corners = skin_grid()[2][whiskers.faces]
    weights = whiskers.weights[..., None]
    share = (shares[corners] * weights).sum(1)
    n = (normals[corners] * weights).sum(1)
    n /= np.linalg.norm(n, axis=-1, keepdims=True)
    x, y, z = n.T
    terms = np.stack([np.ones_like(x), x, y, z, x * y, y * z, x * z, z * z, x * x - y * y], -1)
    light = np.maximum(terms @ poly.T, 0.02) * share[:, :3]
    depth = np.linspace(0.7, 1.05, whiskers.local.shape[1])[None, :, None]
    diffuse = whiskers.tone[:, None] * light[:, None] * depth
    key = np.broadcast_to(share[:, 3:], diffuse.shape[:2])
    return np.ascontiguousarray(diffuse, np.float32), np.ascontiguousarray(key, np.float32)


@kernel(error_model="numpy")
def vertex_normals_into(vertices, faces, out):
    """Write area-weighted unit normals of `vertices` [V, 3] into `out` [V, 3]; the twin is `meshes.vertex_normals`."""
    out[:] = 0
    for f in range(len(faces)):
        a, b, c = faces[f, 0], faces[f, 1], faces[f, 2]
        ux, uy, uz = vertices[b, 0] - vertices[a, 0], vertices[b, 1] - vertices[a, 1], vertices[b, 2] - vertices[a, 2]
        vx, vy, vz = vertices[c, 0] - vertices[a, 0], vertices[c, 1] - vertices[a, 1], vertices[c, 2] - vertices[a, 2]
        x, y, z = uy * vz - uz * vy, uz * vx - ux * vz, ux * vy - uy * vx
        for corner in (a, b, c):
            out[corner, 0] += x
            out[corner, 1] += y
            out[corner, 2] += z
    for i in range(len(out)):
        size = np.sqrt(out[i, 0] ** 2 + out[i, 1] ** 2 + out[i, 2] ** 2) + np.float32(1e-20)
        for k in range(3):
            out[i, k] /= size
