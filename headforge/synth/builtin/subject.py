"""The builtin generator: pictures of procedural heads with exact ground truth."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from headforge.flame.builtin.head import builtin_head
from headforge.flame.builtin.surface import skin_grid
from headforge.flame.model import HeadModel, pose_head
from headforge.geometry.cameras import project
from headforge.geometry.meshes import vertex_normals
from headforge.render.mesh import nearest_faces, screen_points
from headforge.synth.builtin.hair import HairShell, build_hair
from headforge.synth.builtin.points import (
    average_over_white,
    faces_camera,
    hair_points,
    lay_over,
    skin_points,
    vertex_normals_into,
)
from headforge.synth.builtin.shade import HairSurface, shade_hair, shade_skin, strand_level, strand_texture
from headforge.synth.people.lighting import Light, light_reaching, sample_light
from headforge.synth.people.paint import paint
from headforge.synth.people.subjects import Person, sample_person
from headforge.types import Camera, HeadParams

_HAIR_BIAS_M = np.float32(0.0012)
"""Depth bias of hair towards the camera, so that a thin layer doesn't flicker with the skin under it."""


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
    def number(self) -> int:
        """Return the person's number in the dataset."""
        return self.person.subject

    @property
    def source(self) -> str:
        """The domain its pictures belong to."""
        return "synthetic"

    @property
    def attributes(self) -> dict[str, str]:
        """The subject's attributes in a dataset row."""
        return self.person.attributes


def prepare_subject(seed: int, subject: int, long_hair_share: float) -> Subject:
    """Return everything that a subject's views share: a function of (seed, subject) and the share of long hair."""
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
    """Join all shells into one mesh: vertices [n, 3], faces [f, 3] and the joined shell."""
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
    """Render the picture [H, W, 3] uint8 over white and its mask [H, W] uint8 for unbatched parameters and camera.

    Drawn at twice the camera's size and averaged down.
    """
    head = builtin_head()
    batched = HeadParams(params.model_id, **{name: value[None] for name, value in params.tensors().items()})
    vertices = pose_head(head, batched)[0]
    shown = vertices if subject.hair is None else torch.cat([vertices, subject.hair.vertices])
    window, left, top = _window(camera.resized(2 * camera.width, 2 * camera.height), shown)
    rgb, alpha, depth = _draw_skin(subject, head, vertices, window)
    if subject.hair is not None:
        _draw_hair(subject, subject.hair, window, rgb, alpha, depth)
    image = np.full((camera.height, camera.width, 3), 255, np.uint8)
    mask = np.zeros((camera.height, camera.width), np.uint8)
    rows = slice(top // 2, (top + window.height) // 2)
    columns = slice(left // 2, (left + window.width) // 2)
    average_over_white(rgb, alpha, image[rows, columns], mask[rows, columns])
    return image, mask


def _window(camera: Camera, points: Tensor) -> tuple[Camera, int, int]:
    """Return the part of a picture that shows `points` [N, 3], as a camera, and its left and top pixel (even)."""
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


def _draw_skin(
    subject: Subject, head: HeadModel, vertices: Tensor, camera: Camera
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Render colour [H, W, 3], coverage [H, W] and depth [H, W] (infinite where empty) of the head without its hair."""
    normals = _vertex_normals(vertices, head.faces)
    shown = np.flatnonzero(_faces_camera(vertices, head.faces, camera))
    faces = head.faces.numpy()
    xy, nearness = screen_points(vertices, camera)
    ids, _ = nearest_faces(xy, nearness, faces[shown], camera.width, camera.height)
    seen = ids >= 0
    n = np.count_nonzero(seen)
    place, values, grid = np.empty(n, np.int64), np.empty((9, n), np.float32), np.empty((n, 2), np.float32)
    depth = np.empty(ids.shape, np.float32)
    attributes = np.concatenate([normals, vertices.numpy(), subject.skin_light.numpy()], -1)
    skin_points(ids, shown, faces, head.uv_faces.numpy(), xy, nearness, attributes, head.uvs.numpy(), depth, place,
                values, grid)  # fmt: skip
    rgb = np.ones((*ids.shape, 3), np.float32)
    rgb.reshape(-1, 3)[place] = shade_skin(values, grid, subject.texture, subject.light, camera.centre)
    return rgb, seen.astype(np.float32), depth


def _draw_hair(
    subject: Subject, hair: HairSurface, camera: Camera, rgb: np.ndarray, alpha: np.ndarray, depth: np.ndarray
) -> None:
    """Lay the hair over a picture, its inner side under its outer one."""
    is_outside = _faces_camera(hair.vertices, hair.faces, camera)
    faces, attributes = hair.faces.numpy(), hair.attributes.numpy()
    xy, nearness = screen_points(hair.vertices, camera)
    strands = strand_level(hair.strands, float(camera.centre.norm() / camera.K[0, 0]))
    hidden = np.zeros(depth.shape, np.bool_)
    layers = []
    for layer in (faces[is_outside], faces[~is_outside])[: 1 + hair.is_open]:
        ids, _ = nearest_faces(xy, nearness, layer, camera.width, camera.height)
        n = np.count_nonzero(ids >= 0)
        place, values, grid = np.empty(n, np.int64), np.empty((n, 16), np.float32), np.empty((n, 2), np.float32)
        n = hair_points(ids, layer, xy, nearness, attributes, depth, _HAIR_BIAS_M, hidden, strands.shape[0] - 2, place,
                        values, grid)  # fmt: skip
        color, opacity = shade_hair(values[:n], grid[:n], strands, hair.color, subject.light, camera.centre)
        hidden.ravel()[place[:n]] = opacity >= 1
        layers.append((place[:n], color, opacity))
    for place, color, opacity in reversed(layers):
        lay_over(place, color, opacity, rgb.reshape(-1, 3), alpha.reshape(-1))


def _faces_camera(vertices: Tensor, faces: Tensor, camera: Camera) -> np.ndarray:
    """Return [F] whether the camera sees the outer side of each triangle."""
    out = np.empty(len(faces), np.bool_)
    faces_camera(vertices.numpy(), faces.numpy(), camera.centre.numpy(), out)
    return out


def _vertex_normals(vertices: Tensor, faces: Tensor) -> np.ndarray:
    """Return the area-weighted unit normals [V, 3]."""
    out = np.empty(vertices.shape, np.float32)
    vertex_normals_into(vertices.numpy(), faces.numpy(), np.empty(faces.shape, np.float32), out)
    return out
