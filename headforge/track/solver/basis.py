"""Landmarks as explicit linear maps of the coefficients, so that fitting never evaluates the whole mesh.

With the head fixed (rotation, neck, eyes and translation zero) only the jaw remains in linear blend skinning, and
landmark i is, exactly as in `pose_head` and `landmarks`,

    X_i = A_i c + P_i f + (R - I) (B_i c + Q_i f),

c = (1, shape, expression), R the jaw's rotation and f = vec(R - I) its pose feature.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor

from headforge.flame.model import JOINTS, HeadModel

JAW = JOINTS.index("jaw")


@dataclass(frozen=True)
class LandmarkBasis:
    """The maps A, B, P, Q for L surface points, float64. Coefficients may be reduced ones (`reduced`)."""

    plain: Tensor
    """A [L, 3, 1 + n_shape + n_expr]."""
    carried: Tensor
    """B [L, 3, 1 + n_shape + n_expr]: jaw-weighted points minus the jaw-weighted joint."""
    plain_pose: Tensor
    """P [L, 3, 9]."""
    carried_pose: Tensor
    """Q [L, 3, 9]."""
    shape_map: Tensor
    """[full n_shape, n_shape]: full coefficients are shape_map @ reduced ones; orthonormal columns."""
    expr_map: Tensor
    """[full n_expr, n_expr]."""

    @property
    def n_shape(self) -> int:
        """Number of shape coefficients solved for."""
        return self.shape_map.shape[1]

    @property
    def n_expr(self) -> int:
        """Number of expression coefficients per view solved for."""
        return self.expr_map.shape[1]

    def in_order(self, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """Return A and B as [3, L, n_expr + n_shape], without their constants, expression before shape."""
        split = 1 + self.n_shape
        plain, carried = (
            torch.cat([maps[..., split:], maps[..., 1:split]], dim=-1).transpose(0, 1).to(dtype).contiguous()
            for maps in (self.plain, self.carried)
        )
        return plain, carried

    @cached_property
    def in_order_float32(self) -> tuple[Tensor, Tensor]:
        """`in_order` in float32, made once."""
        return self.in_order(torch.float32)

    def points(self, rows: Tensor) -> LandmarkBasis:
        """Return the basis of some of the points."""
        return replace(
            self,
            plain=self.plain[rows],
            carried=self.carried[rows],
            plain_pose=self.plain_pose[rows],
            carried_pose=self.carried_pose[rows],
        )

    def reduced(self, tolerance: float = 1e-6) -> LandmarkBasis:
        """Return the same basis restricted to coefficient directions that move the points.

        The prior is isotropic, so a singular vector without effect on any point stays zero at the optimum: dropping it
        doesn't change the optimum. FLAME's 300 + 100 become at most 204 + 204, and the columns become orthogonal.
        """
        n_shape, n_full = self.n_shape, self.plain.shape[-1]
        shape_rotation = _row_space(self, slice(1, 1 + n_shape), tolerance)
        expr_rotation = _row_space(self, slice(1 + n_shape, n_full), tolerance)
        change = torch.block_diag(self.plain.new_ones(1, 1), shape_rotation, expr_rotation)
        return LandmarkBasis(
            self.plain @ change,
            self.carried @ change,
            self.plain_pose,
            self.carried_pose,
            self.shape_map @ shape_rotation,
            self.expr_map @ expr_rotation,
        )


def _row_space(basis: LandmarkBasis, columns: slice, tolerance: float) -> Tensor:
    stacked = torch.cat([basis.plain[..., columns].flatten(0, 1), basis.carried[..., columns].flatten(0, 1)])
    if stacked.shape[1] == 0:
        return stacked.new_zeros(0, 0)
    _, singular, vh = torch.linalg.svd(stacked, full_matrices=False)
    kept = singular > tolerance * singular.max().clamp_min(1e-300)
    return vh[kept].T.contiguous()


def landmark_basis(model: HeadModel, faces: Tensor | None = None, barycentrics: Tensor | None = None) -> LandmarkBasis:
    """Return the basis of surface points: triangles `faces` [L] with `barycentrics` [L, 3]; the 68 landmarks by
    default.
    """
    faces = model.landmark_faces if faces is None else faces
    barycentrics = model.landmark_barycentrics if barycentrics is None else barycentrics
    corners = model.faces[faces]
    weight = barycentrics.double()
    jaw_weight = weight * model.skin_weights[:, JAW].double()[corners]
    vertex_maps = torch.cat([model.v_template[..., None], model.shapedirs], dim=-1)
    corner_maps = vertex_maps[corners].double()
    joint_map = torch.einsum("v,vcn->cn", model.joint_regressor[JAW].double(), vertex_maps.double())
    features = model.posedirs[(JAW - 1) * 9 : JAW * 9].unflatten(-1, (-1, 3))
    corner_features = features[:, corners].double().permute(1, 2, 3, 0)
    carried = torch.einsum("lk,lkcn->lcn", jaw_weight, corner_maps)
    n_shape, n_expr = model.n_shape, model.n_expr
    return LandmarkBasis(
        plain=torch.einsum("lk,lkcn->lcn", weight, corner_maps),
        carried=carried - jaw_weight.sum(-1)[:, None, None] * joint_map,
        plain_pose=torch.einsum("lk,lkcf->lcf", weight, corner_features),
        carried_pose=torch.einsum("lk,lkcf->lcf", jaw_weight, corner_features),
        shape_map=torch.eye(n_shape, dtype=torch.float64, device=model.device),
        expr_map=torch.eye(n_expr, dtype=torch.float64, device=model.device),
    )
