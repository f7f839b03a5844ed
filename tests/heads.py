"""A head small enough for unit tests: an ellipsoid of 430 vertices with joints, landmarks and a smooth basis."""

from __future__ import annotations

import math

import numpy as np
import torch

from headforge.flame.model import HeadModel

HALF_AXES_M = (0.075, 0.115, 0.095)
N_SHAPE, N_EXPR = 8, 6
JOINTS_M = (
    (0.0, -0.10, -0.02),
    (0.0, -0.06, -0.01),
    (0.0, -0.02, 0.0),
    (0.03, 0.03, 0.07),
    (-0.03, 0.03, 0.07),
)


def landmark_directions() -> np.ndarray:
    """[68, 2] azimuth and elevation in radians of an iBUG-like layout; index 0 is on the subject's right (-x)."""
    points: list[tuple[float, float]] = []
    points += [(math.radians(a), math.radians(-10 - 40 * (1 - (a / 75) ** 2))) for a in np.linspace(-75, 75, 17)]
    points += [(math.radians(a), math.radians(28)) for a in np.linspace(-40, -12, 5)]
    points += [(math.radians(a), math.radians(28)) for a in np.linspace(12, 40, 5)]
    points += [(0.0, math.radians(e)) for e in np.linspace(18, 2, 4)]
    points += [(math.radians(a), math.radians(-4)) for a in np.linspace(-10, 10, 5)]
    for centre in (-24, 24):
        angles = np.linspace(math.pi, -math.pi, 7)[:-1]
        points += [(math.radians(centre + 9 * math.cos(t)), math.radians(18 + 4 * math.sin(t))) for t in angles]
    for n, width, height in ((12, 18, 7), (8, 12, 3)):
        angles = np.linspace(math.pi, -math.pi, n + 1)[:-1]
        points += [(math.radians(width * math.cos(t)), math.radians(-22 + height * math.sin(t))) for t in angles]
    return np.array(points)


def tiny_head(rows: int = 19, columns: int = 24) -> HeadModel:
    """The test head; the same on every call."""
    elevation = np.linspace(-math.pi / 2, math.pi / 2, rows)
    azimuth = np.linspace(-math.pi, math.pi, columns + 1)
    vertices: list[tuple[float, float, float]] = []
    index = np.zeros((rows, columns + 1), dtype=int)
    for r, e in enumerate(elevation):
        pole = r in (0, rows - 1)
        for c in range(columns if not pole else 1):
            a = azimuth[c]
            direction = (math.sin(a) * math.cos(e), math.sin(e), math.cos(a) * math.cos(e))
            index[r, c] = len(vertices)
            vertices.append(tuple(h * d for h, d in zip(HALF_AXES_M, direction, strict=True)))  # type: ignore[arg-type]
        if pole:
            index[r] = index[r, 0]
        index[r, columns] = index[r, 0]
    faces, uv_faces = [], []
    for r in range(rows - 1):
        for c in range(columns):
            for corners in (((r, c), (r, c + 1), (r + 1, c + 1)), ((r, c), (r + 1, c + 1), (r + 1, c))):
                ids = [index[i] for i in corners]
                if len(set(ids)) == 3:
                    faces.append(ids)
                    uv_faces.append([i * (columns + 1) + j for i, j in corners])
    uvs = [(c / columns, r / (rows - 1)) for r in range(rows) for c in range(columns + 1)]
    v = torch.tensor(vertices, dtype=torch.float32)
    f = torch.tensor(np.array(faces), dtype=torch.int64)
    landmark_faces, landmark_barycentrics = _embed_landmarks(v, f)
    return HeadModel(
        model_id="tiny-test-head",
        v_template=v,
        shapedirs=_smooth_basis(v),
        n_shape=N_SHAPE,
        posedirs=torch.zeros(36, v.numel()),
        joint_regressor=_regress(v, torch.tensor(JOINTS_M)),
        skin_weights=_skin(v),
        faces=f,
        uvs=torch.tensor(uvs, dtype=torch.float32),
        uv_faces=torch.tensor(uv_faces, dtype=torch.int64),
        landmark_faces=landmark_faces,
        landmark_barycentrics=landmark_barycentrics,
        contour_faces=torch.zeros(0, 17, dtype=torch.int64),
        contour_barycentrics=torch.zeros(0, 17, 3),
        regions={
            "face": (v[:, 2] > 0.02).nonzero()[:, 0],
            "scalp": ((v[:, 1] > 0.05) | (v[:, 2] < -0.03)).nonzero()[:, 0],
        },
    )


def _smooth_basis(v: torch.Tensor) -> torch.Tensor:
    generator = torch.Generator().manual_seed(7)
    frequencies = torch.randn(N_SHAPE + N_EXPR, 3, generator=generator) * 25
    directions = torch.randn(N_SHAPE + N_EXPR, 3, generator=generator)
    directions = directions / directions.norm(dim=-1, keepdim=True)
    phase = torch.rand(N_SHAPE + N_EXPR, generator=generator) * 6.28
    waves = torch.sin(v @ frequencies.T + phase)
    waves[:, N_SHAPE:] *= (v[:, 2:] > 0) * (v[:, 2:] / HALF_AXES_M[2])
    return 0.003 * waves[:, None, :] * directions.T[None]


def _regress(v: torch.Tensor, joints: torch.Tensor) -> torch.Tensor:
    """Weights over the 40 nearest vertices that reproduce each joint exactly."""
    rows = torch.zeros(len(joints), len(v))
    for j, joint in enumerate(joints):
        near = (v - joint).norm(dim=-1).argsort()[:40]
        a = torch.cat([v[near].T, torch.ones(1, 40)]).double()
        rows[j, near] = (torch.linalg.pinv(a) @ torch.cat([joint, torch.ones(1)]).double()).float()
    return rows


def _skin(v: torch.Tensor) -> torch.Tensor:
    weights = torch.zeros(len(v), 5)
    jaw = torch.sigmoid(-(v[:, 1] + 0.045) / 0.01) * torch.sigmoid(v[:, 2] / 0.01)
    weights[:, 2] = jaw
    weights[:, 1] = 1 - jaw
    return weights


def _embed_landmarks(v: torch.Tensor, f: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    angles = torch.tensor(landmark_directions(), dtype=torch.float32)
    a, e = angles[:, 0], angles[:, 1]
    rays = torch.stack([a.sin() * e.cos(), e.sin(), a.cos() * e.cos()], dim=-1) * torch.tensor(HALF_AXES_M)
    corners = v[f]
    solved = torch.linalg.lstsq(corners.transpose(1, 2)[None].expand(68, -1, -1, -1),
                                rays[:, None, :, None].expand(-1, len(f), -1, 1)).solution[..., 0]  # fmt: skip
    inside = solved.min(dim=-1).values
    best = inside.argmax(dim=1)
    barycentrics = solved[torch.arange(68), best].clamp_min(0)
    return best, barycentrics / barycentrics.sum(-1, keepdim=True)
