"""The forward model: against smplx's FLAME, against the published equations written down once more, and gradients."""

from __future__ import annotations

import dataclasses
import pickle
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse
import torch
from scipy.spatial.transform import Rotation

from headforge.errors import ModelMismatchError, ShapeError
from headforge.flame.model import HeadModel, pose_head, shaped_vertices
from headforge.types import HeadParams
from tests.heads import tiny_head

N_SHAPE, N_EXPR = 300, 100


def random_flame(n_shape: int = N_SHAPE, n_expr: int = N_EXPR) -> HeadModel:
    """A head of 430 vertices with FLAME's numbers of components, random, pose correctives included."""
    generator = torch.Generator().manual_seed(0)
    head = tiny_head()
    weights = head.skin_weights + 0.2 * torch.rand(head.n_vertices, 5, generator=generator)
    return dataclasses.replace(
        head,
        shapedirs=0.002 * torch.randn(head.n_vertices, 3, n_shape + n_expr, generator=generator),
        n_shape=n_shape,
        posedirs=0.01 * torch.randn(36, 3 * head.n_vertices, generator=generator),
        skin_weights=weights / weights.sum(-1, keepdim=True),
    )


def random_params(head: HeadModel, n: int, seed: int = 1) -> HeadParams:
    generator = torch.Generator().manual_seed(seed)
    fields = {
        name: 0.5 * torch.randn(value.shape, generator=generator)
        for name, value in head.neutral((n,)).tensors().items()
    }
    return HeadParams(head.model_id, **fields)


def as_double(head: HeadModel) -> HeadModel:
    tensors = {f.name: getattr(head, f.name) for f in dataclasses.fields(head)}
    return dataclasses.replace(
        head, **{k: t.double() for k, t in tensors.items() if isinstance(t, torch.Tensor) and t.is_floating_point()}
    )


def test_equals_smplx(tmp_path: Path) -> None:
    smplx = pytest.importorskip("smplx")
    head = random_flame()
    arrays = {
        "v_template": head.v_template.double().numpy(),
        "shapedirs": head.shapedirs.double().numpy(),
        "posedirs": head.posedirs.double().T.reshape(-1, 3, 36).numpy(),
        "J_regressor": scipy.sparse.csc_matrix(head.joint_regressor.double().numpy()),
        "kintree_table": np.array([[2**32 - 1, 0, 1, 1, 1], [0, 1, 2, 3, 4]], dtype=np.int64),
        "weights": head.skin_weights.double().numpy(),
        "f": head.faces.numpy(),
    }
    (tmp_path / "FLAME_NEUTRAL.pkl").write_bytes(pickle.dumps(arrays))
    marks = {"lmk_face_idx": head.landmark_faces[17:].numpy(), "lmk_b_coords": head.landmark_barycentrics[17:].numpy()}
    (tmp_path / "flame_static_embedding.pkl").write_bytes(pickle.dumps(marks))
    flame = smplx.FLAME(str(tmp_path), num_betas=N_SHAPE, num_expression_coeffs=N_EXPR, batch_size=5)
    p = random_params(head, 5)
    theirs = flame(
        betas=p.shape, expression=p.expr, global_orient=p.rotation, neck_pose=p.neck, jaw_pose=p.jaw,
        leye_pose=p.eyes[:, :3], reye_pose=p.eyes[:, 3:], transl=p.translation,
    )  # fmt: skip
    ours = pose_head(head, p)
    assert (ours - theirs.vertices).abs().max() < 1e-5
    assert (ours - head.v_template).abs().max() > 0.1


def test_equals_the_published_equations() -> None:
    """Li et al. 2017, equations 2 to 4, per vertex with 4 x 4 matrices, in VHAP's order with offsets."""
    head = as_double(random_flame())
    p = random_params(head, 2)
    p = HeadParams(p.model_id, **{name: value.double() for name, value in p.tensors().items()})
    offsets = 0.003 * torch.randn(
        2, head.n_vertices, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(2)
    )
    for row in range(2):
        beta = torch.cat([p.shape[row], p.expr[row]]).numpy()
        shaped = head.v_template.numpy() + head.shapedirs.numpy() @ beta + offsets[row].numpy()
        joints = head.joint_regressor.numpy() @ shaped
        angles = [p.rotation[row], p.neck[row], p.jaw[row], p.eyes[row, :3], p.eyes[row, 3:]]
        turns = [Rotation.from_rotvec(angle.numpy()).as_matrix() for angle in angles]
        feature = np.concatenate([(turn - np.eye(3)).ravel() for turn in turns[1:]])
        rest = shaped + (feature @ head.posedirs.numpy()).reshape(-1, 3)
        world: list[np.ndarray] = []
        for joint, parent in enumerate((None, 0, 1, 1, 1)):
            local = np.eye(4)
            local[:3, :3] = turns[joint]
            local[:3, 3] = joints[joint] - (0 if parent is None else joints[parent])
            world.append(local if parent is None else world[parent] @ local)
        for joint in range(5):
            back = np.eye(4)
            back[:3, 3] = -joints[joint]
            world[joint] = world[joint] @ back
        wanted = [
            sum(w * (m @ np.append(v, 1.0)) for w, m in zip(weights, world, strict=True))[:3]
            + p.translation[row].numpy()
            for v, weights in zip(rest, head.skin_weights.numpy(), strict=True)
        ]
        np.testing.assert_allclose(pose_head(head, p, offsets)[row].numpy(), wanted, atol=1e-12)


def test_joints_follow_the_offsets() -> None:
    """VHAP's order: a head whose shape is all offset is posed like one whose shape is in the template."""
    head = random_flame()
    offsets = 0.01 * torch.randn(1, head.n_vertices, 3, generator=torch.Generator().manual_seed(3))
    moved = dataclasses.replace(head, v_template=head.v_template + offsets[0])
    p = random_params(head, 3)
    torch.testing.assert_close(pose_head(head, p, offsets), pose_head(moved, p), atol=1e-6, rtol=0)


def test_one_row_of_shape_serves_all_views() -> None:
    head = random_flame()
    p = random_params(head, 4)
    shared = p.replace(shape=p.shape[:1])
    repeated = p.replace(shape=p.shape[:1].expand(4, -1))
    torch.testing.assert_close(pose_head(head, shared), pose_head(head, repeated), atol=1e-6, rtol=0)
    assert shaped_vertices(head, p.shape[:1], p.expr[:1]).shape == (1, head.n_vertices, 3)


@pytest.mark.parametrize("scale", [0.0, 1.0])
def test_gradients_are_exact_also_at_zero(scale: float) -> None:
    head = as_double(random_flame(4, 3))
    p = random_params(head, 1)
    inputs = [(scale * value.double()).requires_grad_() for value in p.tensors().values()]

    def some_vertices(*fields: torch.Tensor) -> torch.Tensor:
        params = HeadParams(head.model_id, **dict(zip(p.tensors(), fields, strict=True)))
        return pose_head(head, params)[:, ::60]

    assert torch.autograd.gradcheck(some_vertices, inputs)


def test_wrong_parameters_are_refused() -> None:
    head = random_flame()
    with pytest.raises(ModelMismatchError):
        pose_head(head, dataclasses.replace(random_params(head, 1), model_id="another"))
    with pytest.raises(ShapeError):
        pose_head(head, head.neutral())
