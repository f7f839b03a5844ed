"""Attributes of the pixels that see a mesh, without touching the ones that don't."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from headforge.render.jit import kernel


def gather(face_ids: Tensor, barycentrics: Tensor, faces: Tensor, attributes: Tensor) -> Tensor:
    """`attributes` [V, C] interpolated at P pixels as [P, C]: their triangles [P] of `faces` [F, 3], weights [P, 3]."""
    out = np.empty((len(face_ids), attributes.shape[1]), np.float32)
    _mix(face_ids.numpy(), barycentrics.numpy(), faces.numpy(), attributes.numpy(), out)
    return torch.from_numpy(out)


@kernel("void(i8[::1], f4[:, ::1], i8[:, ::1], f4[:, ::1], f4[:, ::1])")
def _mix(face_ids, barycentrics, faces, attributes, out):
    for p in range(len(face_ids)):
        f = face_ids[p]
        a, b, c = faces[f, 0], faces[f, 1], faces[f, 2]
        wa, wb, wc = barycentrics[p, 0], barycentrics[p, 1], barycentrics[p, 2]
        for k in range(out.shape[1]):
            out[p, k] = wa * attributes[a, k] + wb * attributes[b, k] + wc * attributes[c, k]
