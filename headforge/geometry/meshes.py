"""Triangle meshes: normals, frames, point alignment."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import normalize


def face_normals(vertices: Tensor, faces: Tensor) -> Tensor:
    """Return unit normals [*, F, 3], outwards for counter-clockwise triangles, of vertices [*, V, 3], faces [F, 3]."""
    v0, v1, v2 = (vertices[..., faces[:, i], :] for i in range(3))
    return normalize(torch.linalg.cross(v1 - v0, v2 - v0), dim=-1)


def vertex_normals(vertices: Tensor, faces: Tensor) -> Tensor:
    """Return area-weighted unit vertex normals [*, V, 3]."""
    v0, v1, v2 = (vertices[..., faces[:, i], :] for i in range(3))
    weighted = torch.linalg.cross(v1 - v0, v2 - v0)
    normals = torch.zeros_like(vertices)
    for corner in range(3):
        normals = normals.index_add(-2, faces[:, corner], weighted)
    return normalize(normals, dim=-1)


def triangle_frames(vertices: Tensor, faces: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return local frames of triangles as GaussianAvatars binds Gaussians to them (Qian et al. 2024, section 3.2).

    Returns rotation [*, F, 3, 3] with columns (edge, normal, normal-complement), scale [*, F] (mean of one edge and
    its height, metres) and centre [*, F, 3]. Local coordinates m stand for the point scale * rotation @ m + centre.
    """
    v0, v1, v2 = (vertices[..., faces[:, i], :] for i in range(3))
    edge = normalize(v1 - v0, dim=-1)
    normal = normalize(torch.linalg.cross(edge, v2 - v0), dim=-1)
    complement = -normalize(torch.linalg.cross(normal, edge), dim=-1)
    rotation = torch.stack([edge, normal, complement], dim=-1)
    height = (complement * (v2 - v0)).sum(-1).abs()
    scale = ((v1 - v0).norm(dim=-1) + height) / 2
    return rotation, scale, (v0 + v1 + v2) / 3


def interpolate_on_faces(values: Tensor, faces: Tensor, face_ids: Tensor, barycentrics: Tensor) -> Tensor:
    """Interpolate values [*, V, C] at N surface points, given by face_ids [N] and barycentrics [N, 3], to [*, N, C]."""
    corners = values[..., faces[face_ids], :]
    return (corners * barycentrics[..., None]).sum(-2)


def similarity_alignment(source: Tensor, target: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return scale, rotation, translation that take source [N, D] to target [N, D] in least squares (Umeyama 1991)."""
    mean_source, mean_target = source.mean(0), target.mean(0)
    a, b = source - mean_source, target - mean_target
    u, singular, vh = torch.linalg.svd(b.T @ a / len(source))
    sign = torch.ones_like(singular)
    sign[-1] = torch.where(torch.linalg.det(u) * torch.linalg.det(vh) < 0, -1.0, 1.0)
    rotation = u @ torch.diag(sign) @ vh
    scale = (singular * sign).sum() / a.square().sum(-1).mean()
    return scale, rotation, mean_target - scale * rotation @ mean_source
