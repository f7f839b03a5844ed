"""Clipping of triangles at the near plane, for cameras inside or close to a surface.

Clipping determines only which triangle covers a pixel. Barycentrics and depth come from the whole triangle in
homogeneous coordinates, which also allow corners behind the camera (Olano and Greer 1997).
"""

from __future__ import annotations

import torch
from torch import Tensor


def crossing_faces(in_front: Tensor, faces: Tensor) -> Tensor:
    """Return [B, F] bool: triangles of `faces` [F, 3] with corners on both sides, by in_front [B, V]."""
    if bool(in_front.all()):
        return in_front.new_zeros(len(in_front), len(faces))
    corners = in_front[:, faces]
    return corners.any(-1) & ~corners.all(-1)


def cut_faces(local: Tensor, faces: Tensor, crossing: Tensor, near: float) -> tuple[Tensor, Tensor, Tensor]:
    """Return one image's triangles with the crossing ones replaced by their parts in front of z = near.

    local [V, 3] is in camera coordinates, crossing [F] from `crossing_faces`. Returns the new corners [K, 3], triangles
    [G, 3] that index V + K corners, and their source triangles in `faces` [G], ascending.
    """
    cut, corners = crossing.nonzero()[:, 0], faces[crossing]
    in_front = local[corners, 2] > near
    # Rotate the corners so that the one alone on its side is first; the cut edges lead to the other two.
    alone_in_front = in_front.sum(-1) == 1
    alone = torch.where(alone_in_front[:, None], in_front, ~in_front).long().argmax(-1)
    turn = (alone[:, None] + torch.arange(3, device=faces.device)) % 3
    first, second, third = corners.gather(1, turn).unbind(-1)
    places = torch.arange(len(cut), device=faces.device) + len(local)
    at_second, at_third = places, places + len(cut)
    made = [_on_plane(local, first, other, alone_in_front, near) for other in (second, third)]
    tip = torch.stack([first, at_second, at_third], dim=-1)
    halves = [torch.stack(half, dim=-1) for half in ((second, third, at_third), (second, at_third, at_second))]
    parts = torch.cat([faces[~crossing], torch.where(alone_in_front[:, None], tip, halves[0]),
                       halves[1][~alone_in_front]])  # fmt: skip
    source = torch.cat([(~crossing).nonzero()[:, 0], cut, cut[~alone_in_front]])
    order = source.argsort(stable=True)
    return torch.cat(made), parts[order], source[order]


def _on_plane(local: Tensor, alone: Tensor, other: Tensor, alone_in_front: Tensor, near: float) -> Tensor:
    """Return [C, 3] intersections of edges with z = near, from the front corner, so that neighbours agree."""
    front, behind = torch.where(alone_in_front, alone, other), torch.where(alone_in_front, other, alone)
    start, end = local[front], local[behind]
    share = (start[:, 2] - near) / (start[:, 2] - end[:, 2])
    point = start + share[:, None] * (end - start)
    return torch.cat([point[:, :2], torch.full_like(point[:, 2:], near)], dim=-1)


def cut_fragments(pixel: Tensor, corners: Tensor) -> tuple[Tensor, Tensor]:
    """Return barycentrics [P, 3] and depth [P] at pixels [P, 2] in triangles with `corners` [P, 3, 3] = (u z, v z, z).

    Any sign of z; differentiable with respect to the corners.
    """
    offsets = corners[..., :2] - pixel[:, None] * corners[..., 2:]
    a, b = offsets.roll(-1, dims=1), offsets.roll(-2, dims=1)
    weights = a[..., 0] * b[..., 1] - a[..., 1] * b[..., 0]
    barycentrics = weights / weights.sum(-1, keepdim=True)
    return barycentrics, (barycentrics * corners[..., 2]).sum(-1)
