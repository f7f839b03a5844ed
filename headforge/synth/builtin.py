"""The builtin generator: pictures of procedural heads with exact ground truth."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from headforge.flame.builtin import builtin_head
from headforge.flame.builtin_surface import skin_grid
from headforge.flame.model import HeadModel, pose_head
from headforge.geometry.cameras import project
from headforge.geometry.meshes import vertex_normals
from headforge.render.mesh import rasterize
from headforge.synth.gather import gather
from headforge.synth.hair import HairShell, build_hair
from headforge.synth.lighting import Light, light_reaching, sample_light
from headforge.synth.paint import paint
from headforge.synth.shade import HairSurface, SkinSurface, shade_hair, shade_skin, strand_texture
from headforge.synth.subjects import Person, sample_person
from headforge.types import Camera, HeadParams

_HAIR_BIAS_M = 0.0012
"""How much nearer than it is hair counts, so that a thin layer doesn't flicker with the skin under it."""


_THROAT_Z_M, _LIPS_Z_M = 0.055, 0.096
"""Depths of the mean head between which the light in an open mouth grows."""


@dataclass(frozen=True)
class Subject:
    """A person ready to be drawn."""

    person: Person
    light: Light
    texture: Tensor
    """[R, R, 4] sRGB and gloss."""
    skin_light: Tensor
    """[V, 3] share of the light that reaches each vertex of the neutral head."""
    hair: HairSurface | None

    @property
    def source(self) -> str:
        """The domain its pictures belong to."""
        return "synthetic"

    @property
    def attributes(self) -> dict[str, str]:
        """What a dataset row tells about the subject."""
        return self.person.attributes


def prepare_subject(seed: int, subject: int, long_hair_share: float) -> Subject:
    """Everything about a subject that its views share: a function of (seed, subject) and the share of long hair."""
    head = builtin_head()
    person = sample_person(seed, subject, long_hair_share)
    light = sample_light(seed, subject)
    params = head.neutral((1,)).replace(shape=person.shape[None])
    vertices = pose_head(head, params)[0]
    normals = vertex_normals(vertices, head.faces)
    shells = _hair(person, seed, head, vertices, normals)
    hair_vertices, hair_faces, shells_joined = _join(shells)
    occluders = torch.cat([vertices, hair_vertices])
    faces = torch.cat([head.faces, hair_faces + head.n_vertices])
    hair_normals = vertex_normals(hair_vertices, hair_faces) if len(hair_faces) else hair_vertices
    reach = light_reaching(light, occluders, torch.cat([normals, hair_normals]), occluders, faces)
    skin_light = _light_mouth(head, reach[: head.n_vertices])
    hair = None
    if shells_joined is not None:
        strands = strand_texture(seed, subject, person.hair_wave, person.hair_style)
        is_open = person.hair_style not in ("buzz", "bun")
        hair_light = reach[head.n_vertices :]
        hair = HairSurface.make(
            hair_vertices, hair_faces, hair_normals, shells_joined, hair_light, person.hair_srgb, strands, is_open
        )
    return Subject(person, light, torch.from_numpy(paint(person, seed)), skin_light, hair)


def _light_mouth(head: HeadModel, reach: Tensor) -> Tensor:
    """Light inside the mouth as if it were open: the shut lips of the neutral head would leave it dark."""
    reach = reach.clone()
    for name, most in (("teeth", 0.85), ("tongue", 0.6), ("mouth_interior", 0.45)):
        ids = head.regions[name]
        depth = ((head.v_template[ids, 2:] - _THROAT_Z_M) / (_LIPS_Z_M - _THROAT_Z_M)).clamp(0.05, 1)
        reach[ids] = most * depth
    return reach


def _hair(person: Person, seed: int, head: HeadModel, vertices: Tensor, normals: Tensor) -> list[HairShell]:
    rows, columns, faces = skin_grid()
    n = len(rows)
    rest = head.v_template[:n].double().numpy() * 1e3
    return build_hair(
        person, seed, vertices[:n].double().numpy(), rest, normals[:n].double().numpy(), faces, rows, columns
    )


def _join(shells: list[HairShell]) -> tuple[Tensor, Tensor, HairShell | None]:
    """One mesh of all shells: vertices [n, 3], faces [f, 3] and the joined shell."""
    if not shells:
        return torch.zeros(0, 3), torch.zeros(0, 3, dtype=torch.int64), None
    starts = np.cumsum([0, *(len(s.vertices) for s in shells[:-1])])
    joined = HairShell(
        np.concatenate([s.vertices for s in shells]),
        np.concatenate([s.faces + start for s, start in zip(shells, starts, strict=True)]),
        np.concatenate([s.strand for s in shells]),
        np.concatenate([s.cover for s in shells]),
        np.concatenate([s.shade for s in shells]),
    )
    return torch.tensor(joined.vertices, dtype=torch.float32), torch.tensor(joined.faces), joined


def render_view(subject: Subject, params: HeadParams, camera: Camera) -> tuple[np.ndarray, np.ndarray]:
    """The picture [H, W, 3] uint8 over white and its mask [H, W] uint8 for unbatched parameters and camera.

    Drawn at twice the camera's size and averaged down.
    """
    head = builtin_head()
    batched = HeadParams(params.model_id, **{name: value[None] for name, value in params.tensors().items()})
    vertices = pose_head(head, batched)[0]
    shown = vertices if subject.hair is None else torch.cat([vertices, subject.hair.vertices])
    window, left, top = _window(camera.resized(2 * camera.width, 2 * camera.height), shown)
    rgb, alpha, depth = _draw_skin(subject, head, vertices, window)
    if subject.hair is not None:
        rgb, alpha = _draw_hair(subject, subject.hair, window, rgb, alpha, depth)
    large = torch.cat([rgb * alpha + (1 - alpha), alpha], dim=-1)
    # The mean of each 2x2 block; adding slices is several times faster than reshaping and `mean`.
    small = (large[0::2, 0::2] + large[1::2, 0::2] + large[0::2, 1::2] + large[1::2, 1::2]) / 4
    part = (small.clamp(0, 1) * 255 + 0.5).to(torch.uint8).numpy()
    image = np.full((camera.height, camera.width, 3), 255, np.uint8)
    mask = np.zeros((camera.height, camera.width), np.uint8)
    rows, columns = slice(top // 2, top // 2 + part.shape[0]), slice(left // 2, left // 2 + part.shape[1])
    image[rows, columns], mask[rows, columns] = part[..., :3], part[..., 3]
    return image, mask


def _window(camera: Camera, points: Tensor) -> tuple[Camera, int, int]:
    """The part of a picture that shows `points` [N, 3], as a camera of its own, and its left and top pixel (even)."""
    xy, _ = project(camera, points)
    low = (xy.amin(0) - 1).floor().long().clamp_min(0) // 2 * 2
    size = torch.tensor([camera.width, camera.height])
    high = torch.minimum((xy.amax(0) + 3).ceil().long() // 2 * 2, size)
    low = torch.minimum(low, size - 2)
    high = torch.maximum(high, low + 2)
    K = camera.K.clone()
    K[:2, 2] -= low
    width, height = (high - low).tolist()
    return Camera(K, camera.viewmat, width, height), int(low[0]), int(low[1])


def _draw_skin(subject: Subject, head: HeadModel, vertices: Tensor, camera: Camera) -> tuple[Tensor, Tensor, Tensor]:
    """Colour [H, W, 3], coverage [H, W, 1] and depth [H, W] (infinite where empty) of the head without its hair."""
    normals = vertex_normals(vertices, head.faces)
    kept = _faces_camera(vertices, head.faces, camera).nonzero()[:, 0]
    fragments = rasterize(vertices[None], head.faces[kept], _batched(camera))
    seen = fragments.mask[0]
    ids, weights = kept[fragments.face_ids[0][seen]], fragments.barycentrics[0][seen]
    values = gather(ids, weights, head.faces, torch.cat([normals, vertices, subject.skin_light], -1))
    uv = gather(ids, weights, head.uv_faces, head.uvs)
    surface = SkinSurface(values[:, :3], values[:, 3:6], values[:, 6:9], uv)
    rgb = torch.ones(*seen.shape, 3)
    rgb[seen] = shade_skin(surface, subject.texture, subject.light, camera.centre)
    depth = torch.where(seen, fragments.depth[0], torch.full_like(fragments.depth[0], torch.inf))
    return rgb, seen[..., None].float(), depth


def _draw_hair(
    subject: Subject, hair: HairSurface, camera: Camera, rgb: Tensor, alpha: Tensor, depth: Tensor
) -> tuple[Tensor, Tensor]:
    """Lay the hair over a picture, its inner side under its outer one; returns the new colour and coverage."""
    is_outside = _faces_camera(hair.vertices, hair.faces, camera)
    hidden = torch.zeros(depth.shape, dtype=torch.bool)
    layers = []
    for layer in (hair.faces[is_outside], hair.faces[~is_outside])[: 1 + hair.is_open]:
        fragments = rasterize(hair.vertices[None], layer, _batched(camera))
        seen = fragments.mask[0] & (fragments.depth[0] < depth + _HAIR_BIAS_M) & ~hidden
        values = gather(fragments.face_ids[0][seen], fragments.barycentrics[0][seen], layer, hair.attributes)
        pixel_m = float(camera.centre.norm() / camera.K[0, 0])
        color, opacity = shade_hair(values, hair, subject.light, camera.centre, pixel_m)
        hidden[seen] = opacity[:, 0] >= 1
        layers.append((seen, color, opacity))
    rgb, alpha = rgb.clone(), alpha.clone()
    for seen, color, opacity in reversed(layers):
        below, cover = rgb[seen], alpha[seen]
        new_cover = opacity + (1 - opacity) * cover
        rgb[seen] = (opacity * color + (1 - opacity) * cover * below) / new_cover.clamp_min(1e-6)
        alpha[seen] = new_cover
    return rgb, alpha


def _faces_camera(vertices: Tensor, faces: Tensor, camera: Camera) -> Tensor:
    """[F] whether the camera sees the outer side of each triangle."""
    a, b, c = vertices[faces].unbind(1)
    return (torch.linalg.cross(b - a, c - a) * (camera.centre - a)).sum(-1) > 0


def _batched(camera: Camera) -> Camera:
    return Camera(camera.K[None], camera.viewmat[None], camera.width, camera.height)
