"""Kernels that find the points of head and hair seen by the samples of a picture, and that average pictures down.

The arithmetic is that of `render.mesh.rasterize` and of torch, operation by operation in float32, because the bytes of
the basic appearance's pictures depend on it; the readable twins are in tests/synth/twins.py.
"""

from __future__ import annotations

import numpy as np

from headforge.render.jit import kernel
from headforge.synth.builtin.shade_kernels import ONE, TWO, ZERO, cross_term, length

HALF, FOUR, BYTE = np.float32(0.5), np.float32(4), np.float32(255)
INFINITE, LEAST_COVER = np.float32(np.inf), np.float32(1e-6)


@kernel(error_model="numpy", forceinline=True)
def _normal(vertices, a, b, c, out):
    """Write the normal of a triangle, twice its area long, into `out` [3]."""
    ux, uy, uz = vertices[b, 0] - vertices[a, 0], vertices[b, 1] - vertices[a, 1], vertices[b, 2] - vertices[a, 2]
    vx, vy, vz = vertices[c, 0] - vertices[a, 0], vertices[c, 1] - vertices[a, 1], vertices[c, 2] - vertices[a, 2]
    out[0], out[1], out[2] = cross_term(uy, vz, uz, vy), cross_term(uz, vx, ux, vz), cross_term(ux, vy, uy, vx)


@kernel(error_model="numpy")
def faces_camera(vertices, faces, eye, out):
    """Write into `out` [F] bool whether a camera at `eye` [3] sees the outer side of each triangle."""
    normal = np.zeros(3, np.float32)
    for f in range(len(faces)):
        a = faces[f, 0]
        _normal(vertices, a, faces[f, 1], faces[f, 2], normal)
        x = normal[0] * (eye[0] - vertices[a, 0])
        y = normal[1] * (eye[1] - vertices[a, 1])
        z = normal[2] * (eye[2] - vertices[a, 2])
        out[f] = x + y + z > ZERO


@kernel(error_model="numpy")
def vertex_normals_into(vertices, faces, weighted, out):
    """Write `geometry.meshes.vertex_normals` of [V, 3] into `out` [V, 3]; `weighted` [F, 3] is overwritten."""
    out[:] = ZERO
    for f in range(len(faces)):
        _normal(vertices, faces[f, 0], faces[f, 1], faces[f, 2], weighted[f])
    for corner in range(3):
        for f in range(len(faces)):
            v = faces[f, corner]
            for k in range(3):
                out[v, k] += weighted[f, k]
    for v in range(len(out)):
        size = length(out[v, 0], out[v, 1], out[v, 2])
        for k in range(3):
            out[v, k] /= size


@kernel(error_model="numpy", forceinline=True)
def _weigh(faces, f, xy, nearness, row, column, weights):
    """Write perspective-correct corner weights of triangle `f` at a pixel into `weights` [3]; return the depth."""
    px, py = np.float32(column) + HALF, np.float32(row) + HALF
    a, b, c = faces[f, 0], faces[f, 1], faces[f, 2]
    ax, ay, bx, by, cx, cy = xy[a, 0] - px, xy[a, 1] - py, xy[b, 0] - px, xy[b, 1] - py, xy[c, 0] - px, xy[c, 1] - py
    wa, wb, wc = bx * cy - by * cx, cx * ay - cy * ax, ax * by - ay * bx
    va, vb, vc = wa * nearness[a], wb * nearness[b], wc * nearness[c]
    total = va + vb + vc
    weights[0], weights[1], weights[2] = va / total, vb / total, vc / total
    return (wa + wb + wc) / total


@kernel(error_model="numpy")
def skin_points(ids, shown, faces, uv_faces, xy, nearness, attributes, uvs, depth, place, values, grid):
    """Gather the points of the head that the samples see; `shown` are the triangles that `ids` [H, W] number.

    Fills depth [H, W] (infinite where empty), place [P] of the samples that see something, values [9, P] of the
    `attributes` [V, 9] and grid [P, 2] where to sample the texture (`torch.nn.functional.grid_sample`).
    """
    height, width = ids.shape
    weights = np.zeros(3, np.float32)
    p = 0
    for row in range(height):
        for column in range(width):
            f = ids[row, column]
            if f < 0:
                depth[row, column] = INFINITE
                continue
            f = shown[f]
            depth[row, column] = _weigh(faces, f, xy, nearness, row, column, weights)
            a, b, c = faces[f, 0], faces[f, 1], faces[f, 2]
            for k in range(9):
                values[k, p] = (
                    weights[0] * attributes[a, k] + weights[1] * attributes[b, k] + weights[2] * attributes[c, k]
                )
            a, b, c = uv_faces[f, 0], uv_faces[f, 1], uv_faces[f, 2]
            u = weights[0] * uvs[a, 0] + weights[1] * uvs[b, 0] + weights[2] * uvs[c, 0]
            v = weights[0] * uvs[a, 1] + weights[1] * uvs[b, 1] + weights[2] * uvs[c, 1]
            grid[p, 0], grid[p, 1] = TWO * u - ONE, ONE - TWO * v
            place[p] = row * width + column
            p += 1


@kernel(error_model="numpy")
def hair_points(ids, faces, xy, nearness, attributes, depth, bias, hidden, n_texels, place, values, grid):
    """Gather the points of a layer of hair that the samples see before the head at `depth` [H, W] and not `hidden` [H,
    W].

    Fills place [P], values [P, 16] and grid [P, 2] where to sample strands of `n_texels` texels, which one more on each
    side repeats; returns P.
    """
    height, width = ids.shape
    weights = np.zeros(3, np.float32)
    n = np.float32(n_texels)
    padded = np.float32(n_texels + 2)
    p = 0
    for row in range(height):
        for column in range(width):
            f = ids[row, column]
            if f < 0 or hidden[row, column]:
                continue
            if not _weigh(faces, f, xy, nearness, row, column, weights) < depth[row, column] + bias:
                continue
            a, b, c = faces[f, 0], faces[f, 1], faces[f, 2]
            for k in range(16):
                values[p, k] = (
                    weights[0] * attributes[a, k] + weights[1] * attributes[b, k] + weights[2] * attributes[c, k]
                )
            for k in range(2):
                s = values[p, 12 + k]
                s -= np.trunc(s)
                if s < ZERO:
                    s += ONE
                grid[p, k] = (s * n + ONE) / padded * TWO - ONE
            place[p] = row * width + column
            p += 1
    return p


@kernel(error_model="numpy")
def lay_over(place, color, opacity, rgb, alpha):
    """Lay colours [P, 3] with `opacity` [P] over the samples `place` [P] of a picture rgb [H * W, 3], alpha [H * W]."""
    for p in range(len(opacity)):
        i, own = place[p], opacity[p]
        rest = (ONE - own) * alpha[i]
        cover = own + rest
        for c in range(3):
            rgb[i, c] = (own * color[p, c] + rest * rgb[i, c]) / max(cover, LEAST_COVER)
        alpha[i] = cover


@kernel(error_model="numpy")
def average_over_white(rgb, alpha, image, mask):
    """Average 2 x 2 samples of rgb [2H, 2W, 3] with alpha [2H, 2W] over white to bytes: [H, W, 3] and [H, W]."""
    for row in range(mask.shape[0]):
        for column in range(mask.shape[1]):
            top, left = 2 * row, 2 * column
            for c in range(3):
                total = _over_white(rgb, alpha, top, left, c) + _over_white(rgb, alpha, top + 1, left, c)
                total += _over_white(rgb, alpha, top, left + 1, c)
                total += _over_white(rgb, alpha, top + 1, left + 1, c)
                image[row, column, c] = _byte(total / FOUR)
            total = alpha[top, left] + alpha[top + 1, left] + alpha[top, left + 1] + alpha[top + 1, left + 1]
            mask[row, column] = _byte(total / FOUR)


@kernel(error_model="numpy", forceinline=True)
def _over_white(rgb, alpha, row, column, c):
    return rgb[row, column, c] * alpha[row, column] + (ONE - alpha[row, column])


@kernel(error_model="numpy", forceinline=True)
def _byte(value):
    return np.uint8(min(max(value, ZERO), ONE) * BYTE + HALF)
