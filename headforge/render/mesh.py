"""Mesh rasterization: triangle id, barycentrics and depth of each pixel.

The triangle ids come from a z-buffer (numba on the CPU, scatter-min elsewhere, with the same contract). Barycentrics
and depth are computed from the ids in torch and are differentiable with respect to the vertices; without gradients a
second kernel computes them. Coverage is not differentiated. Pixel centres are at +0.5; both sides of a triangle are
visible. Triangles that cross the near plane are clipped.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from headforge.devices import require_cpu
from headforge.errors import DeviceError, NotFiniteError, ShapeError
from headforge.geometry.cameras import transform_points
from headforge.render.jit import kernel
from headforge.render.near_clip import crossing_faces, cut_faces, cut_fragments
from headforge.render.pixels import pixels_in_boxes
from headforge.types import Camera

NEAR_M = 1e-3
"""Near plane: nearer surfaces are not drawn."""
HALF = np.float32(0.5)
ZERO = np.float32(0)
BACKGROUND = -1
"""Triangle id of background pixels."""


@dataclass(frozen=True)
class MeshFragments:
    """Rasterized triangles of a mesh by pixel."""

    face_ids: Tensor
    """[B, H, W] int64, -1 for background."""
    barycentrics: Tensor
    """[B, H, W, 3] perspective-correct weights of the triangle's corners; zero for background."""
    depth: Tensor
    """[B, H, W] z in camera coordinates, metres; zero for background."""

    @property
    def mask(self) -> Tensor:
        """[B, H, W] bool, true where the mesh covers the pixel."""
        return self.face_ids >= 0


def rasterize(vertices: Tensor, faces: Tensor, camera: Camera) -> MeshFragments:
    """Rasterize `vertices` [B, V, 3] (world, metres) with `faces` [F, 3] int64 through the cameras [B].

    Among equally near triangles (shared edges) the lowest id wins. Barycentrics and depth are differentiable with
    respect to the vertices and the camera. A triangle that crosses the near plane is clipped; its id and barycentrics
    refer to the whole triangle.
    """
    _check(vertices, faces, camera)
    local, in_front, xy, inverse_depth = _screen_corners(vertices, camera)
    crossing = crossing_faces(in_front, faces)
    with torch.no_grad():
        ids = nearest_face_ids(xy.detach(), inverse_depth.detach(), faces, camera.width, camera.height)
        cut_images = crossing.any(-1).nonzero()[:, 0].tolist()
        for b in cut_images:
            ids[b] = _cut_face_ids(local[b], xy[b], inverse_depth[b], faces, crossing[b], camera[b])
    if not cut_images:
        return _whole_fragments(ids, xy, inverse_depth, faces)
    is_cut = (ids >= 0) & crossing.gather(1, ids.clamp_min(0).flatten(1)).view_as(ids)
    place = is_cut.nonzero(as_tuple=True)
    whole = _whole_fragments(ids.masked_fill(is_cut, BACKGROUND), xy, inverse_depth, faces)
    homogeneous = torch.cat([local @ camera.K[..., :2, :].transpose(-1, -2), local[..., 2:]], dim=-1)
    pixel = torch.stack([place[2], place[1]], dim=-1).to(xy.dtype) + 0.5
    barycentrics, depth = cut_fragments(pixel, homogeneous[place[0][:, None], faces[ids[place]]])
    return MeshFragments(ids, whole.barycentrics.index_put(place, barycentrics), whole.depth.index_put(place, depth))


def screen_points(vertices: Tensor, camera: Camera) -> tuple[np.ndarray, np.ndarray]:
    """Project vertices [V, 3] with an unbatched camera to pixels [V, 2] and nearness [V], float32, for `nearest_faces`.

    The values equal those in `rasterize` bit for bit, which also clips triangles at the near plane.
    """
    batched = Camera(camera.K[None], camera.viewmat[None], camera.width, camera.height)
    require_cpu("drawing meshes with numba", vertices=vertices, K=camera.K)
    _, _, xy, inverse_depth = _screen_corners(vertices[None], batched)
    return xy[0].contiguous().numpy(), inverse_depth[0].contiguous().numpy()


def _screen_corners(vertices: Tensor, camera: Camera) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return camera coordinates [B, V, 3], in-front flags [B, V], pixels [B, V, 2] and 1 / depth [B, V]."""
    local = transform_points(camera.viewmat, vertices)
    in_front = local[..., 2] > NEAR_M
    return local, in_front, *_to_screen(local, in_front, camera.K)


def _to_screen(local: Tensor, in_front: Tensor, K: Tensor) -> tuple[Tensor, Tensor]:
    """Return pixels [B, V, 2] and 1 / depth [B, V] (0 = not in front) of points [B, V, 3] in camera coordinates."""
    depth = local[..., 2]
    safe_depth = torch.where(in_front, depth, torch.ones_like(depth))
    normalized = torch.cat([local[..., :2] / safe_depth[..., None], torch.ones_like(depth)[..., None]], dim=-1)
    xy = normalized @ K[..., :2, :].transpose(-1, -2)
    return xy, torch.where(in_front, 1 / safe_depth, torch.zeros_like(depth))


def _cut_face_ids(
    local: Tensor, xy: Tensor, inverse_depth: Tensor, faces: Tensor, crossing: Tensor, camera: Camera
) -> Tensor:
    """Return `nearest_face_ids` of one image, [H, W], with the crossing triangles clipped at the near plane."""
    made, parts, source = cut_faces(local, faces, crossing, NEAR_M)
    made_xy, made_inverse = _to_screen(made, torch.ones_like(made[:, 2], dtype=torch.bool), camera.K)
    corners = (torch.cat([xy, made_xy])[None], torch.cat([inverse_depth, made_inverse])[None])
    ids = nearest_face_ids(*corners, parts, camera.width, camera.height)[0]
    return torch.where(ids < 0, BACKGROUND, source[ids.clamp_min(0)])


def interpolate(fragments: MeshFragments, attributes_per_corner: Tensor) -> Tensor:
    """Interpolate corner attributes, [F, 3, C] or [B, F, 3, C], at every pixel: [B, H, W, C].

    Background pixels are zero. Differentiable with respect to the attributes and the barycentrics.
    """
    mask = fragments.mask
    batch, rows, columns = mask.nonzero(as_tuple=True)
    ids = fragments.face_ids[batch, rows, columns]
    attributes = attributes_per_corner
    corners = attributes[ids] if attributes.dim() == 3 else attributes[batch, ids]
    values = (corners * fragments.barycentrics[batch, rows, columns][..., None].to(corners)).sum(-2)
    image = values.new_zeros(*mask.shape, values.shape[-1])
    return image.index_put((batch, rows, columns), values)


def _whole_fragments(ids: Tensor, xy: Tensor, inverse_depth: Tensor, faces: Tensor) -> MeshFragments:
    """Return barycentrics and depth if every visible triangle lies in front of the near plane."""
    if _is_plain(xy) and _is_plain(inverse_depth):
        return _fragments_without_gradient(ids, xy, inverse_depth, faces)
    return _fragments(ids, xy, inverse_depth, faces)


def _fragments(ids: Tensor, xy: Tensor, inverse_depth: Tensor, faces: Tensor) -> MeshFragments:
    """Return barycentrics and depth of the covered pixels."""
    batch, rows, columns = (ids >= 0).nonzero(as_tuple=True)
    corner_ids = faces[ids[batch, rows, columns]]
    pixel = torch.stack([columns, rows], dim=-1).to(xy.dtype) + 0.5
    # Relative to the pixel: in absolute coordinates areas of small triangles would lose precision.
    offsets = xy[batch[:, None], corner_ids] - pixel[:, None]
    weights = torch.stack([_cross(offsets[:, (i + 1) % 3], offsets[:, (i + 2) % 3]) for i in range(3)], dim=-1)
    over_depth = weights * inverse_depth[batch[:, None], corner_ids]
    total = over_depth.sum(-1, keepdim=True)
    values = torch.cat([over_depth / total, weights.sum(-1, keepdim=True) / total], dim=-1)
    image = values.new_zeros(*ids.shape, 4).index_put((batch, rows, columns), values)
    return MeshFragments(ids, image[..., :3], image[..., 3])


def _is_plain(values: Tensor) -> bool:
    """Return whether numba can read `values` and no gradient is required."""
    return not values.requires_grad and values.is_cpu and values.dtype == torch.float32


def _fragments_without_gradient(ids: Tensor, xy: Tensor, inverse_depth: Tensor, faces: Tensor) -> MeshFragments:
    """Return the same as `_fragments`, up to float32 rounding, in one pass over the pixels."""
    barycentrics, depth = torch.empty(*ids.shape, 3, device="cpu"), torch.empty(*ids.shape, device="cpu")
    corners = faces.contiguous().numpy()
    for b in range(len(xy)):
        _weigh(ids[b].numpy(), xy[b].contiguous().numpy(), inverse_depth[b].contiguous().numpy(), corners,
               barycentrics[b].numpy(), depth[b].numpy())  # fmt: skip
    return MeshFragments(ids, barycentrics, depth)


def _cross(a: Tensor, b: Tensor) -> Tensor:
    return a[..., 0] * b[..., 1] - a[..., 1] * b[..., 0]


def nearest_face_ids(xy: Tensor, inverse_depth: Tensor, faces: Tensor, width: int, height: int) -> Tensor:
    """Return the ids [B, H, W] int64 of the nearest triangles, -1 for none: the z-buffer alone, without gradients.

    xy [B, V, 2] pixels; inverse_depth [B, V] in 1/m, 0 = behind the camera. `rasterize` adds barycentrics and depth.
    """
    if xy.is_cpu and xy.dtype == torch.float32:
        ids = torch.full((len(xy), height, width), BACKGROUND, dtype=torch.int64, device="cpu")
        nearest = torch.zeros(len(xy), height, width, device="cpu")
        corners = faces.contiguous().numpy()
        for b in range(len(xy)):
            _zbuffer(xy[b].contiguous().numpy(), inverse_depth[b].contiguous().numpy(), corners,
                     nearest[b].numpy(), ids[b].numpy())  # fmt: skip
        return ids
    return torch.stack([scatter_face_ids(xy[b], inverse_depth[b], faces, width, height) for b in range(len(xy))])


def nearest_faces(
    xy: np.ndarray, nearness: np.ndarray, faces: np.ndarray, width: int, height: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return the ids [H, W] int64 of the nearest triangles (-1 for none) and their nearness [H, W] float32.

    xy [V, 2] float32 pixels; nearness [V] float32 grows towards the camera, is linear over a triangle in the picture
    (1/z, or a constant minus z for parallel projection) and at most 0 for vertices that must not be drawn.
    """
    ids = np.full((height, width), BACKGROUND, np.int64)
    nearest = np.zeros((height, width), np.float32)
    _zbuffer(xy, nearness, faces, nearest, ids)
    return ids, nearest


def scatter_face_ids(xy: Tensor, inverse_depth: Tensor, faces: Tensor, width: int, height: int) -> Tensor:
    """Compute the z-buffer in torch: every (triangle, pixel) pair in the triangle's box, then a scatter-max.

    xy [V, 2] pixels and inverse_depth [V] (0 = behind the camera) to ids [H, W] int64. Runs on any device.
    """
    corner_xy, corner_inverse = xy[faces], inverse_depth[faces]
    low, high = corner_xy.amin(1), corner_xy.amax(1)
    visible = (corner_inverse > 0).all(-1)
    face, columns, rows = pixels_in_boxes(low, high, visible, width, height)
    pixel = torch.stack([columns, rows], dim=-1).to(xy.dtype) + 0.5
    offsets = corner_xy[face] - pixel[:, None]
    weights = torch.stack([_cross(offsets[:, (i + 1) % 3], offsets[:, (i + 2) % 3]) for i in range(3)], dim=-1)
    area = weights.sum(-1)
    inside = ((weights >= 0).all(-1) | (weights <= 0).all(-1)) & (area != 0)
    face, weights, area = face[inside], weights[inside], area[inside]
    nearness = (weights * corner_inverse[face]).sum(-1) / area
    place = rows[inside] * width + columns[inside]
    nearest = nearness.new_zeros(height * width).scatter_reduce(0, place, nearness, "amax")
    wins = nearness == nearest[place]
    no_face = len(faces)
    ids = torch.full((height * width,), no_face, dtype=torch.int64, device=xy.device)
    ids = ids.scatter_reduce(0, place[wins], face[wins], "amin")
    return torch.where(ids == no_face, BACKGROUND, ids).reshape(height, width)


@kernel()
def _zbuffer(
    xy: np.ndarray, inverse_depth: np.ndarray, faces: np.ndarray, nearest: np.ndarray, ids: np.ndarray
) -> None:
    height, width = ids.shape
    for f in range(len(faces)):
        a, b, c = faces[f, 0], faces[f, 1], faces[f, 2]
        inv_a, inv_b, inv_c = inverse_depth[a], inverse_depth[b], inverse_depth[c]
        if inv_a <= 0 or inv_b <= 0 or inv_c <= 0:
            continue
        ax, ay, bx, by, cx, cy = xy[a, 0], xy[a, 1], xy[b, 0], xy[b, 1], xy[c, 0], xy[c, 1]
        # Pixel centres inside the box; clamped as floats, because a distant corner may overflow an integer.
        x0 = int(max(np.ceil(min(ax, bx, cx) - HALF), ZERO))
        x1 = int(min(np.floor(max(ax, bx, cx) - HALF), np.float32(width - 1)))
        y0 = int(max(np.ceil(min(ay, by, cy) - HALF), ZERO))
        y1 = int(min(np.floor(max(ay, by, cy) - HALF), np.float32(height - 1)))
        for y in range(y0, y1 + 1):
            py = np.float32(y) + HALF
            day, dby, dcy = ay - py, by - py, cy - py
            for x in range(x0, x1 + 1):
                px = np.float32(x) + HALF
                dax, dbx, dcx = ax - px, bx - px, cx - px
                w0 = dbx * dcy - dby * dcx
                w1 = dcx * day - dcy * dax
                w2 = dax * dby - day * dbx
                if (w0 < 0 or w1 < 0 or w2 < 0) and (w0 > 0 or w1 > 0 or w2 > 0):
                    continue
                area = w0 + w1 + w2
                if area == 0:
                    continue
                nearness = (w0 * inv_a + w1 * inv_b + w2 * inv_c) / area
                if nearness > nearest[y, x]:
                    nearest[y, x] = nearness
                    ids[y, x] = f


@kernel()
def _weigh(
    ids: np.ndarray,
    xy: np.ndarray,
    inverse_depth: np.ndarray,
    faces: np.ndarray,
    barycentrics: np.ndarray,
    depth: np.ndarray,
) -> None:
    height, width = ids.shape
    for y in range(height):
        py = np.float32(y) + HALF
        for x in range(width):
            f = ids[y, x]
            if f < 0:
                barycentrics[y, x, 0] = barycentrics[y, x, 1] = barycentrics[y, x, 2] = depth[y, x] = ZERO
                continue
            px = np.float32(x) + HALF
            a, b, c = faces[f, 0], faces[f, 1], faces[f, 2]
            dax, day, dbx, dby = xy[a, 0] - px, xy[a, 1] - py, xy[b, 0] - px, xy[b, 1] - py
            dcx, dcy = xy[c, 0] - px, xy[c, 1] - py
            w0 = dbx * dcy - dby * dcx
            w1 = dcx * day - dcy * dax
            w2 = dax * dby - day * dbx
            v0, v1, v2 = w0 * inverse_depth[a], w1 * inverse_depth[b], w2 * inverse_depth[c]
            total = v0 + v1 + v2
            barycentrics[y, x, 0], barycentrics[y, x, 1], barycentrics[y, x, 2] = v0 / total, v1 / total, v2 / total
            depth[y, x] = (w0 + w1 + w2) / total


def _check(vertices: Tensor, faces: Tensor, camera: Camera) -> None:
    if vertices.dim() != 3 or vertices.shape[-1] != 3:
        raise ShapeError("vertices", "[B, V, 3]", tuple(vertices.shape))
    if faces.dim() != 2 or faces.shape[-1] != 3:
        raise ShapeError("faces", "[F, 3]", tuple(faces.shape))
    if tuple(camera.viewmat.shape) != (len(vertices), 4, 4):
        raise ShapeError("camera.viewmat", f"[{len(vertices)}, 4, 4]", tuple(camera.viewmat.shape))
    if tuple(camera.K.shape) != (len(vertices), 3, 3):
        raise ShapeError("camera.K", f"[{len(vertices)}, 3, 3]", tuple(camera.K.shape))
    if vertices.is_meta:
        raise DeviceError("vertices", "cpu", "meta", "rasterizing, which looks at the values,")
    for name, tensor in (("faces", faces), ("camera.viewmat", camera.viewmat), ("camera.K", camera.K)):
        if tensor.device != vertices.device:
            raise DeviceError(name, str(vertices.device), str(tensor.device), "rasterizing vertices there")
    finite = torch.isfinite(vertices)
    if not bool(finite.all()):
        raise NotFiniteError("vertices", int((~finite).sum()), finite.numel())
