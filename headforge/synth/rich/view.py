"""Pictures of a prepared subject of the rich appearance."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from headforge.flame.builtin.field import EYE_CENTRE
from headforge.flame.builtin.head import builtin_head
from headforge.flame.builtin.surface import lid_edges, lip_middle
from headforge.flame.model import pose_head
from headforge.render.mesh import nearest_faces
from headforge.synth.rich.backgrounds import draw_background
from headforge.synth.rich.bust import bust_topology, bust_vertices
from headforge.synth.rich.draw import average_down, draw_hairs, draw_lenses, turn_clockwise
from headforge.synth.rich.reflect import GAMMA, tone_curve
from headforge.synth.rich.subject import RichSubject, surface_kinds, vertex_normals_into
from headforge.synth.rich.surface import N_LID_POINTS, shade_surfaces
from headforge.synth.rich.texture import detail_tile
from headforge.types import Camera, HeadParams

_FULL_DETAIL_M = 0.00036
"""Width of a pixel of the supersampled picture below which all hairs are drawn."""
_HAIR_SHEEN = np.array([0.10, 0.55])
_WHISKER_SHEEN = np.array([0.008, 0.06])
_OPEN_MOUTH_M = 0.012
"""Gap between the lips from which on they don't shade the teeth."""
_CURVE = tone_curve()


@dataclass(frozen=True)
class _Posed:
    """The head, bust and glasses in one pose, world metres."""

    vertices: np.ndarray
    """[V + bust + frame, 3] float32."""
    faces: np.ndarray
    normals: np.ndarray
    turn: np.ndarray
    """[3, 3] the rotation of the skull from rest."""
    shift: np.ndarray
    """[3]."""


def render_rich(subject: RichSubject, params: HeadParams, camera: Camera) -> tuple[np.ndarray, np.ndarray]:
    """Render the picture [H, W, 3] uint8 on its background and its mask [H, W] uint8; parameters are unbatched.

    Drawn at twice the camera's size and averaged down. The mask counts hair and glasses as foreground.
    """
    posed = _pose(subject, params)
    width, height = 2 * camera.width, 2 * camera.height
    fine = camera.resized(width, height)
    view = fine.viewmat[:3].double().numpy()
    K = fine.K.double().numpy()
    intrinsics = np.array([K[0, 0], K[1, 1], K[0, 2], K[1, 2]])
    xy, nearness = _project(posed.vertices, view, intrinsics)
    shown = _facing(xy, posed.faces)
    ids, near = nearest_faces(xy, nearness, posed.faces[shown], width, height)
    rgb, alpha = np.zeros((height, width, 3), np.float32), np.zeros((height, width), np.float32)
    surface_near = near.copy()
    viewer = fine.centre.double().numpy()
    _draw_hair(subject, posed, view, intrinsics, viewer, near, rgb, alpha)
    _shade(subject, posed, shown, ids, surface_near, xy, nearness, viewer, K[0, 0], rgb, alpha)
    if subject.glasses is not None:
        _draw_lenses(subject, posed, view, intrinsics, viewer, near, rgb, alpha)
    behind = draw_background(subject.background, subject.seed, subject.traits.person.subject, subject.panorama, camera)
    image = np.empty((camera.height, camera.width, 3), np.uint8)
    mask = np.empty((camera.height, camera.width), np.uint8)
    average_down(rgb, alpha, behind, image, mask)
    return image, mask


def _pose(subject: RichSubject, params: HeadParams) -> _Posed:
    head = builtin_head()
    batched = HeadParams(params.model_id, **{name: value[None] for name, value in params.tensors().items()})
    with torch.no_grad():
        vertices = pose_head(head, batched)[0].numpy()
    skull = head.regions["scalp"].numpy()
    skull = skull[head.v_template[skull, 1].numpy() > 0.06]
    turn, shift = _rigid(subject.neutral[skull], vertices[skull])
    if subject.ear_offsets is not None:
        vertices = vertices + subject.ear_offsets @ turn.T.astype(np.float32)
    ring, bust_faces = bust_topology()
    vertices = np.concatenate([vertices, bust_vertices(vertices[ring])])
    faces = np.concatenate([head.faces.numpy(), bust_faces])
    if subject.glasses is not None:
        worn = subject.glasses.vertices @ turn.T + shift
        faces = np.concatenate([faces, subject.glasses.faces + len(vertices)])
        vertices = np.concatenate([vertices, worn.astype(np.float32)])
    vertices = np.ascontiguousarray(vertices, np.float32)
    normals = np.empty_like(vertices)
    vertex_normals_into(vertices, faces, normals)
    return _Posed(vertices, faces, normals, turn, shift)


def _rigid(rest: np.ndarray, posed: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the rotation [3, 3] and shift [3] from rest to posed points; exactly none if none moved."""
    if np.abs(rest - posed).max() < 1e-6:
        return np.eye(3), np.zeros(3)
    _, rotation, _ = align(rest, posed)
    return rotation, posed.mean(0) - rotation @ rest.mean(0)


def align(rest: np.ndarray, posed: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
    """Return `geometry.meshes.similarity_alignment` of points [N, 3], in NumPy: its small calls cost less."""
    rest, posed = rest.astype(float), posed.astype(float)
    middle, moved = rest.mean(0), posed.mean(0)
    a, b = rest - middle, posed - moved
    u, singular, vh = np.linalg.svd(b.T @ a / len(rest))
    if np.linalg.det(u) * np.linalg.det(vh) < 0:
        u[:, -1], singular[-1] = -u[:, -1], -singular[-1]
    rotation = u @ vh
    scale = singular.sum() / (a * a).sum(-1).mean()
    return scale, rotation, moved - scale * rotation @ middle


def _project(points: np.ndarray, view: np.ndarray, camera: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return pixels [V, 2] and nearness [V] (0 = behind the camera), float32, of points [V, 3]."""
    local = points.astype(np.float64) @ view[:, :3].T + view[:, 3]
    depth = np.where(local[:, 2] > 1e-3, local[:, 2], 1)
    xy = local[:, :2] / depth[:, None] * camera[:2] + camera[2:]
    nearness = np.where(local[:, 2] > 1e-3, 1 / depth, 0)
    return np.ascontiguousarray(xy, np.float32), np.ascontiguousarray(nearness, np.float32)


def _facing(xy: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """Return the ids of triangles whose outer side the camera sees: they turn clockwise, since v points down."""
    turns = np.empty(len(faces), np.bool_)
    turn_clockwise(xy, faces, turns)
    return np.flatnonzero(turns)


def _shade(
    subject: RichSubject, posed: _Posed, shown: np.ndarray, ids: np.ndarray, near: np.ndarray, xy: np.ndarray,
    nearness: np.ndarray, viewer: np.ndarray, focal_px: float, rgb: np.ndarray, alpha: np.ndarray,
) -> None:  # fmt: skip
    head = builtin_head()
    n_frame = 0 if subject.glasses is None else len(subject.glasses.faces)
    attributes = np.concatenate([posed.normals, posed.vertices, subject.shares], -1)
    upper, lower = lip_middle()
    opening_m = float(np.linalg.norm(posed.vertices[upper] - posed.vertices[lower]))
    for name in ("teeth", "tongue", "mouth_interior"):
        attributes[head.regions[name].numpy(), 6:] *= 0.3 + 0.7 * min(opening_m / _OPEN_MOUTH_M, 1.0)
    eyes, lids = _eyes(posed)
    across = posed.turn[:, 0]
    middle = np.append(across, across @ (eyes[0, :3] + eyes[1, :3]) / 2)
    # Pores are finer than pixels in small pictures: they fade instead of flickering.
    detail = 0.05 * min(1.0, focal_px / 5000)
    light = subject.light
    uv_faces = head.uv_faces.numpy()
    linear = np.stack([subject.traits.frame_srgb, subject.person.shirt_srgb]) ** GAMMA
    plain = np.concatenate([linear, [[0.9], [0.0]]], -1)
    shade_surfaces(
        ids, near, xy, nearness, posed.faces[shown], surface_kinds(n_frame)[shown], attributes,
        uv_faces[np.minimum(shown, len(uv_faces) - 1)], head.uvs.numpy(), subject.texture, detail_tile(), detail, eyes,
        middle, posed.turn, subject.eye_picture, lids, plain, subject.poly, light.key_direction.double().numpy(),
        light.key_color.double().numpy(), viewer, _CURVE, rgb, alpha,
    )  # fmt: skip


def _eyes(posed: _Posed) -> tuple[np.ndarray, np.ndarray]:
    """Return centre and axes [2, 12] of the eyeballs, and azimuth and elevation [2, 26, 2] of the lids' edges."""
    head = builtin_head()
    eyes, lids = np.zeros((2, 12)), np.zeros((2, 2 * N_LID_POINTS, 2))
    for eye, (name, sign) in enumerate((("left_eyeball", 1.0), ("right_eyeball", -1.0))):
        ids = head.regions[name].numpy()
        scale, turn, shift = align(head.v_template.numpy()[ids], posed.vertices[ids])
        centre = scale * turn @ (EYE_CENTRE * [sign, 1, 1]) * 1e-3 + shift
        eyes[eye, :3], eyes[eye, 3:] = centre, turn.T.ravel()
        for part, edges in enumerate(lid_edges()):
            edge = edges[eye] if eye == 0 else edges[eye][::-1]
            d = (posed.vertices[edge] - centre) @ posed.turn
            angles = np.stack([np.arctan2(d[:, 0], d[:, 2]), np.arctan2(d[:, 1], np.hypot(d[:, 0], d[:, 2]))], -1)
            lids[eye, part * N_LID_POINTS : (part + 1) * N_LID_POINTS] = angles
    return eyes, lids


def _draw_hair(subject: RichSubject, posed: _Posed, view: np.ndarray, camera: np.ndarray, viewer: np.ndarray,
               near: np.ndarray, rgb: np.ndarray, alpha: np.ndarray) -> None:  # fmt: skip
    light = subject.light
    pixel_m = float(np.linalg.norm(viewer)) / camera[0]
    key, color = light.key_direction.double().numpy(), light.key_color.double().numpy()
    whiskers = subject.whiskers
    points = whiskers.posed(posed.vertices)
    diffuse, share = subject.whisker_light
    opacity = float(np.clip(0.00042 / pixel_m, 0.22, 0.95))
    draw_hairs(points, diffuse, share, whiskers.tone, whiskers.width_m, len(points), opacity, 0.5, view, camera, viewer,
               key, color, _WHISKER_SHEEN, _CURVE, near, rgb, alpha)  # fmt: skip
    if subject.hair is None:
        return
    strands = subject.hair.strands
    in_head = np.concatenate([view[:, :3] @ posed.turn, (view[:, :3] @ posed.shift + view[:, 3])[:, None]], 1)
    drawn = min((_FULL_DETAIL_M / pixel_m) ** 0.85, 1.0)
    opacity = float(np.clip(_FULL_DETAIL_M / pixel_m / drawn, 0.3, 0.92))
    draw_hairs(strands.points, subject.hair.diffuse, subject.hair.key_share, strands.tone, strands.width_mm * 1e-3,
               int(drawn * strands.n), opacity, 0.25, in_head, camera, posed.turn.T @ (viewer - posed.shift),
               posed.turn.T @ key, color, _HAIR_SHEEN, _CURVE, near, rgb, alpha)  # fmt: skip


def _draw_lenses(subject: RichSubject, posed: _Posed, view: np.ndarray, camera: np.ndarray, viewer: np.ndarray,
                 near: np.ndarray, rgb: np.ndarray, alpha: np.ndarray) -> None:  # fmt: skip
    assert subject.glasses is not None
    lenses = (subject.glasses.lens_vertices @ posed.turn.T + posed.shift).astype(np.float32)
    faces = subject.glasses.lens_faces
    xy, nearness = _project(lenses, view, camera)
    ids, at = nearest_faces(xy, nearness, faces, near.shape[1], near.shape[0])
    corners = lenses[faces].astype(np.float64)
    centre = corners.mean(1)
    normals = np.empty_like(lenses)
    vertex_normals_into(lenses, faces, normals)
    n = normals[faces].mean(1)
    to_viewer = viewer - centre
    to_viewer /= np.linalg.norm(to_viewer, axis=-1, keepdims=True)
    mirrored = 2 * (n * to_viewer).sum(-1, keepdims=True) * n - to_viewer
    key = subject.light.key_direction.numpy()
    glare_by_face = 0.03 + 0.5 * np.clip(mirrored @ key, 0, 1) ** 24
    glare = np.where(ids >= 0, glare_by_face[ids], 0).astype(np.float32)
    tints = np.full(len(faces), subject.traits.lens_tint)
    draw_lenses(ids, at, tints, glare, near, rgb, alpha)
