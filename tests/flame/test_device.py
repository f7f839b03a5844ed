"""Head models pose, mark and shut their eyes on the device that they are moved to."""

from __future__ import annotations

import dataclasses
from functools import cache

import torch

from headforge.flame import colors, eyelids, landmark_sets, model, poses, uv
from headforge.flame.builtin.head import builtin_head
from headforge.flame.model import HeadModel
from headforge.types import HeadParams
from tests.devices import Call, check_complete, check_on_cpu, check_on_meta, parametrized

TEXELS = "the number of texels in a triangle depends on the values"


@cache
def head() -> HeadModel:
    return builtin_head()


def params(n: int = 2) -> HeadParams:
    return head().neutral((n,))


def one_shape() -> HeadParams:
    return params().replace(shape=params(1).shape)


def vertices() -> torch.Tensor:
    return head().v_template[None].repeat(2, 1, 1)


def nameless_pupils() -> HeadModel:
    return dataclasses.replace(head(), pupil_faces=torch.zeros(0, dtype=torch.int64))


CALLS = [
    Call(model.pose_head, lambda: (head(), params())),
    Call(model.pose_head, lambda: (head(), one_shape(), 0.01 * vertices())),
    Call(model.shaped_vertices, lambda: (head(), one_shape().shape, params().expr)),
    Call(model.joint_rotations, lambda: (params(),)),
    Call(model.joint_transforms, lambda: (torch.rand(2, 5, 3, 3), torch.rand(2, 5, 3))),
    Call(model.landmarks, lambda: (head(), vertices())),
    Call(HeadModel.neutral, lambda: (head(), (3,))),
    Call(HeadModel.face_mask, lambda: (head(), "face", "nowhere")),
    Call(HeadModel.vertex_mask, lambda: (head(), "face", "nowhere")),
    Call(HeadModel.faces_of, lambda: (head(), "face"), reason="how many there are depends on the values"),
    Call(landmark_sets.landmark_embedding, lambda: (head(), 68, 25.0)),
    Call(landmark_sets.landmark_points, lambda: (head(), vertices(), 68, 25.0)),
    Call(landmark_sets.pupil_embedding, lambda: (nameless_pupils(),), reason="looks for the foremost vertex"),
    Call(eyelids.eyelid_basis, lambda: (head(),)),
    Call(eyelids.eyelid_offsets, lambda: (head(), torch.rand(2, 2))),
    Call(
        poses.posed_params, lambda: (head(), params()), {"jaw_open_deg": 5.0, "gaze_yaw_deg": 3.0, "neck_yaw_deg": 2.0}
    ),
    Call(colors.clay_colors, lambda: (head(),), reason="which vertices are iris depends on the values"),
    Call(uv.rasterize_uv, lambda: (head(), 16), reason=TEXELS),
]
MODULES = (model, landmark_sets, eyelids, uv, poses, colors)
runs_on_meta, all_calls = parametrized(CALLS)


@runs_on_meta
def test_on_meta(call: Call) -> None:
    check_on_meta(call)


@all_calls
def test_on_the_cpu_whatever_the_default_device_is(call: Call) -> None:
    check_on_cpu(call)


def test_no_entry_point_is_left_out() -> None:
    check_complete(CALLS, {}, MODULES)
