"""Readable twins of the basic appearance's kernels: a picture drawn by `rasterize` and torch operations."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import grid_sample, normalize

from headforge.flame.builtin.head import builtin_head
from headforge.flame.model import HeadModel, pose_head
from headforge.geometry.meshes import vertex_normals
from headforge.render.mesh import rasterize
from headforge.render.shading import sample_texture, sh_irradiance
from headforge.synth.builtin.shade import _STRAND_TEXEL_M, GAMMA, HairSurface
from headforge.synth.builtin.subject import Subject
from headforge.synth.builtin.subject import _window as window_of
from headforge.synth.people.lighting import Light
from headforge.types import Camera, HeadParams

_HAIR_BIAS_M = 0.0012


@dataclass(frozen=True)
class SkinSurface:
    """P visible points of the head."""

    normals: Tensor
    """[P, 3], not normalised."""
    points: Tensor
    """[P, 3]."""
    light: Tensor
    """[P, 3] share of the light that arrives."""
    uv: Tensor
    """[P, 2]."""


def render_view(subject: Subject, params: HeadParams, camera: Camera) -> tuple[np.ndarray, np.ndarray]:
    """The picture [H, W, 3] uint8 over white and its mask [H, W] uint8 for unbatched parameters and camera.

    Drawn at twice the camera's size and averaged down.
    """
    head = builtin_head()
    batched = HeadParams(params.model_id, **{name: value[None] for name, value in params.tensors().items()})
    vertices = pose_head(head, batched)[0]
    shown = vertices if subject.hair is None else torch.cat([vertices, subject.hair.vertices])
    window, left, top = window_of(camera.resized(2 * camera.width, 2 * camera.height), shown)
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


def gather(face_ids: Tensor, barycentrics: Tensor, faces: Tensor, attributes: Tensor) -> Tensor:
    """`attributes` [V, C] interpolated at P pixels as [P, C]: their triangles [P] of `faces` [F, 3], weights [P, 3]."""
    a, b, c = (barycentrics[:, i, None] * attributes[faces[face_ids, i]] for i in range(3))
    return a + b + c


def _to_srgb(linear: Tensor) -> Tensor:
    """Compress highlights softly, then encode."""
    return (linear / (1 + 0.10 * linear)).mul(1.10).clamp(0, 1) ** (1 / GAMMA)


def shade_skin(surface: SkinSurface, texture: Tensor, light: Light, eye: Tensor) -> Tensor:
    """sRGB [P, 3] of points of the head seen from `eye` [3]."""
    normals = normalize(surface.normals, dim=-1)
    painted = sample_texture(texture, surface.uv)
    albedo, gloss = painted[:, :3] ** GAMMA, painted[:, 3:]
    view = normalize(eye - surface.points, dim=-1)
    # Blood lets red light through: shadows on skin are warmer than on plaster.
    arriving = surface.light ** surface.light.new_tensor([0.82, 1.02, 1.08])
    irradiance = sh_irradiance(normals, light.coefficients).clamp_min(0.01) * arriving
    half = normalize(view + light.key_direction, dim=-1)
    toward_half = (normals * half).sum(-1, keepdim=True).clamp_min(0)
    toward_view = (normals * view).sum(-1, keepdim=True).clamp(0, 1)
    grey = surface.light.mean(-1, keepdim=True)
    is_eye = (gloss > 0.97).float()
    broad = 0.10 * gloss * toward_half**14 + 0.13 * gloss**2 * toward_half**48
    sharp = is_eye * 2.2 * toward_half**420
    rim = 0.22 * (1 - toward_view) ** 4 * gloss * (1 - is_eye)
    highlight = (broad * (1 - is_eye) + sharp) * grey**2 * light.key_color + rim * irradiance
    return _to_srgb(albedo * irradiance + highlight)


def _sample_strands(strands: tuple[Tensor, ...], strand: Tensor, pixel_m: float) -> Tensor:
    """[P, 2] streak and slope at `strand` [P, 2], from the level whose texels are about as large as a pixel."""
    level = round(math.log2(max(pixel_m / _STRAND_TEXEL_M, 1.0)))
    texture = strands[min(level, len(strands) - 1)]
    n = texture.shape[0] - 2
    grid = (((strand % 1.0) * n + 1) / (n + 2) * 2 - 1)[None, None]
    return grid_sample(texture.permute(2, 0, 1)[None], grid, padding_mode="border", align_corners=False)[0, :, 0].T


def shade_hair(values: Tensor, hair: HairSurface, light: Light, eye: Tensor, pixel_m: float) -> tuple[Tensor, Tensor]:
    """sRGB [P, 3] and opacity [P, 1] of points of the hair with the attributes `values` [P, 16].

    `pixel_m` is about how wide a pixel is on the head.
    """
    normals, points, arriving, tangents = (normalize(values[:, :3], dim=-1), values[:, 3:6], values[:, 6:9],
                                           normalize(values[:, 9:12], dim=-1))  # fmt: skip
    strand, cover, shade = values[:, 12:14], values[:, 14:15], values[:, 15:16]
    fine = _sample_strands(hair.strands, strand, pixel_m)
    streak, slope = fine[:, :1], fine[:, 1:]
    view = normalize(eye - points, dim=-1)
    facing = (normals * view).sum(-1, keepdim=True)
    is_back = (facing < 0).float()
    normals = normals * (1 - 2 * is_back)
    side = torch.linalg.cross(tangents, normals)
    normals = normalize(normals + 0.30 * slope * side, dim=-1)
    irradiance = sh_irradiance(normals, light.coefficients).clamp_min(0.01) * arriving
    half = normalize(view + light.key_direction, dim=-1)
    along = (tangents * half).sum(-1, keepdim=True)
    across = (1 - along**2).clamp_min(0)
    lit = (normals * light.key_direction).sum(-1, keepdim=True).clamp(0, 1) * arriving.mean(-1, keepdim=True)
    sheen = (1 - is_back) * lit * (0.10 * across**24 * streak + 0.05 * across**90 * streak**2)
    albedo = hair.color * (0.45 + 1.1 * streak) * shade * (1 - 0.78 * is_back)
    color = albedo * irradiance + sheen * light.key_color * (0.35 + 0.65 * hair.color / hair.color.max())
    opacity = ((cover - 0.75 * (1 - streak)) / 0.35).clamp(0, 1)
    return _to_srgb(color), opacity
