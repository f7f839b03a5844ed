"""A head model in FLAME's format and its forward model (linear blend skinning)."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from headforge.errors import ModelMismatchError, ShapeError
from headforge.geometry.meshes import interpolate_on_faces
from headforge.geometry.rotations import axis_angle_to_matrix
from headforge.types import HeadParams

JOINTS = ("root", "neck", "jaw", "left_eye", "right_eye")
PARENTS = (-1, 0, 1, 1, 1)


@dataclass(frozen=True)
class HeadModel:
    """A morphable head: V vertices, F triangles, 5 joints (`JOINTS`), all tensors float32 or int64."""

    model_id: str
    v_template: Tensor
    """[V, 3] mean head in metres; y up, face towards +z, subject's left +x."""
    shapedirs: Tensor
    """[V, 3, n_shape + n_expr], identity first; coefficients are in standard deviations."""
    n_shape: int
    posedirs: Tensor
    """[36, V * 3] pose correctives for the rotation matrices of the joints 1 to 4 minus identity, row-major."""
    joint_regressor: Tensor
    """[5, V]."""
    skin_weights: Tensor
    """[V, 5], rows sum to 1."""
    faces: Tensor
    """[F, 3], counter-clockwise seen from outside."""
    uvs: Tensor
    """[T, 2] texture coordinates in [0, 1]; image row = (1 - v) * height."""
    uv_faces: Tensor
    """[F, 3] rows of `uvs` for each triangle's corners."""
    landmark_faces: Tensor
    """[68] triangle of each iBUG landmark; the first 17 are the jaw line seen from the front."""
    landmark_barycentrics: Tensor
    """[68, 3]."""
    contour_faces: Tensor
    """[79, 17] triangles of the jaw line of a turned head, by `contour_bin`; empty if unknown."""
    contour_barycentrics: Tensor
    """[79, 17, 3]."""
    regions: Mapping[str, Tensor] = field(default_factory=dict)
    """Vertex ids by region: face, scalp, neck, lips, nose, left_ear, right_ear, left_eyeball, right_eyeball, teeth."""
    expression_names: tuple[str, ...] = ()
    """One per expression coefficient, in order; may be empty."""
    pupil_faces: Tensor = field(default_factory=lambda: torch.zeros(0, dtype=torch.int64, device="cpu"))
    """[2] triangles of the pupils, the subject's right one, then the left; empty if the model doesn't name them."""
    pupil_barycentrics: Tensor = field(default_factory=lambda: torch.zeros(0, 3, device="cpu"))
    """[2, 3]."""
    eyelids: Tensor = field(default_factory=lambda: torch.zeros(0, 3, 2, device="cpu"))
    """[V, 3, 2] metres that shut the subject's left and right eye; empty if the model has none."""

    @property
    def n_expr(self) -> int:
        """Number of expression coefficients."""
        return self.shapedirs.shape[-1] - self.n_shape

    @property
    def n_vertices(self) -> int:
        """V."""
        return self.v_template.shape[0]

    def neutral(self, batch: tuple[int, ...] = ()) -> HeadParams:
        """Return all-zero parameters of this model, on its device."""
        return HeadParams.neutral(self.model_id, self.n_shape, self.n_expr, batch, self.device)

    @property
    def device(self) -> torch.device:
        """The device of all its tensors."""
        return self.v_template.device

    def to(self, device: torch.device | str) -> HeadModel:
        """Return the same model with every tensor, the regions' too, on `device`."""
        fields = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        moved = {name: value.to(device) for name, value in fields.items() if isinstance(value, Tensor)}
        regions = {name: ids.to(device) for name, ids in self.regions.items()}
        return dataclasses.replace(self, **moved, regions=regions)

    def faces_of(self, region: str) -> Tensor:
        """Return the ids of the triangles whose corners all belong to `region`; KeyError for a missing region."""
        if region not in self.regions:
            raise KeyError(region)
        return self.face_mask(region).nonzero()[:, 0]

    def face_mask(self, *regions: str) -> Tensor:
        """Return [F] bool: triangles whose corners all belong to one of the `regions`; missing regions are empty."""
        chosen = torch.zeros(len(self.faces), dtype=torch.bool, device=self.device)
        for region in regions:
            if region in self.regions:
                chosen |= self.vertex_mask(region)[self.faces].all(-1)
        return chosen

    def vertex_mask(self, *regions: str) -> Tensor:
        """Return [V] bool: vertices of any of the `regions`; missing regions are empty."""
        inside = torch.zeros(self.n_vertices, dtype=torch.bool, device=self.device)
        for region in regions:
            if region in self.regions:
                inside[self.regions[region]] = True
        return inside


def shaped_vertices(model: HeadModel, shape: Tensor, expr: Tensor) -> Tensor:
    """Return unposed vertices [B, V, 3] of shape [B or 1, S] and expr [B, E]: template plus offsets.

    One row of shape for several views of a subject is multiplied out once.
    """
    if len(shape) == 1 < len(expr):
        identity = model.v_template + (model.shapedirs[..., : model.n_shape] @ shape[0])
        return identity + torch.einsum("vce,be->bvc", model.shapedirs[..., model.n_shape :], expr)
    coefficients = torch.cat([shape, expr], dim=-1)
    basis = model.shapedirs.reshape(-1, model.shapedirs.shape[-1])
    return model.v_template + (coefficients @ basis.T).unflatten(-1, (-1, 3))


def pose_head(model: HeadModel, params: HeadParams, offsets: Tensor | None = None) -> Tensor:
    """Return vertices [B, V, 3] of the posed head (Li et al. 2017, eq. 2-4, in VHAP's order).

    `params` has one batch dimension B; its shape may have a single row for all. `offsets` [B or 1, V, 3] are per-vertex
    metres added before the joints are regressed. The root rotates about joint 0; the translation is added last.

    Raises ModelMismatchError for parameters of another head model, ShapeError for unbatched ones.
    """
    if params.model_id != model.model_id:
        raise ModelMismatchError(model.model_id, params.model_id)
    if params.shape.ndim != 2:
        raise ShapeError("params.shape", "[B, n_shape]", tuple(params.shape.shape))
    shaped = shaped_vertices(model, params.shape, params.expr)
    if offsets is not None:
        shaped = shaped + offsets
    joints = torch.einsum("jv,bvc->bjc", model.joint_regressor, shaped)
    rotations = joint_rotations(params)
    identity = torch.eye(3, dtype=shaped.dtype, device=shaped.device)
    pose_feature = (rotations[:, 1:] - identity).flatten(1)
    posed = shaped + (pose_feature @ model.posedirs).unflatten(-1, (-1, 3))
    transforms = joint_transforms(rotations, joints)
    blended = torch.einsum("vj,bjrc->bvrc", model.skin_weights, transforms)
    skinned = torch.einsum("bvrc,bvc->bvr", blended[..., :3], posed) + blended[..., 3]
    return skinned + params.translation[:, None]


def joint_rotations(params: HeadParams) -> Tensor:
    """Return local rotation matrices [B, 5, 3, 3] in the order of `JOINTS`."""
    axis_angles = torch.stack(
        [params.rotation, params.neck, params.jaw, params.eyes[..., :3], params.eyes[..., 3:]], dim=-2
    )
    return axis_angle_to_matrix(axis_angles)


def joint_transforms(rotations: Tensor, joints: Tensor) -> Tensor:
    """Return rest-to-posed transforms [B, 5, 3, 4] along the kinematic chain of rotations and rest joints [B, 5, 3]."""
    world_rotation, world_position = [rotations[:, 0]], [joints[:, 0]]
    for joint in range(1, len(JOINTS)):
        parent = PARENTS[joint]
        offset = joints[:, joint] - joints[:, parent]
        world_position.append(world_position[parent] + (world_rotation[parent] @ offset[..., None])[..., 0])
        world_rotation.append(world_rotation[parent] @ rotations[:, joint])
    rotation = torch.stack(world_rotation, dim=1)
    position = torch.stack(world_position, dim=1)
    translation = position - (rotation @ joints[..., None])[..., 0]
    return torch.cat([rotation, translation[..., None]], dim=-1)


def landmarks(model: HeadModel, vertices: Tensor) -> Tensor:
    """Return the 68 static landmarks [B, 68, 3] on posed vertices [B, V, 3]."""
    return interpolate_on_faces(vertices, model.faces, model.landmark_faces, model.landmark_barycentrics)
