"""The jaw line of a turned head, for every kind of head model: on the outline of a rendered picture."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from scipy.ndimage import distance_transform_edt

from headforge.flame.builtin.head import builtin_head
from headforge.flame.contour import contour_turns_our_way, dynamic_contour, mirrored_rows
from headforge.flame.landmark_sets import landmark_embedding
from headforge.flame.landmarks import bin_yaw_deg, contour_bin
from headforge.flame.model import HeadModel
from headforge.geometry.cameras import orbit_camera, project
from headforge.geometry.meshes import interpolate_on_faces
from headforge.render.mesh import rasterize
from tests.flame.foreign import flame_like_head, ict_like_head

SIZE = 256


HEADS = {"builtin": builtin_head, "ict": ict_like_head, "flame": flame_like_head}


@pytest.fixture(scope="module", params=HEADS)
def head(request: pytest.FixtureRequest) -> HeadModel:
    return HEADS[request.param]()


def pixels_inside_the_outline(head: HeadModel, yaw_deg: float, as_if_deg: float) -> np.ndarray:
    """How many pixels inside the outline of the rendered face the 17 points for `as_if_deg` lie, seen from yaw_deg."""
    camera = orbit_camera(torch.tensor([yaw_deg]), 0.0, distance_m=1.5, focal_px=1400.0, width=SIZE, height=SIZE)
    skin = torch.ones(head.n_vertices, dtype=torch.bool)
    for name in ("left_ear", "right_ear", "scalp", "neck"):
        skin[head.regions[name]] = False
    faces = head.faces[skin[head.faces].all(-1)]
    mask = rasterize(head.v_template[None], faces, camera).mask[0].numpy()
    inside = distance_transform_edt(np.pad(mask, 1))
    points = interpolate_on_faces(head.v_template, head.faces, *landmark_embedding(head, 68, as_if_deg))[:17]
    columns, rows = project(camera[0], points)[0].floor().long().clamp(0, SIZE - 1).T + 1
    return inside[rows, columns]


@pytest.mark.parametrize("yaw", [-35.0, 35.0])
def test_the_far_side_lies_on_the_rendered_outline(head: HeadModel, yaw: float) -> None:
    far = slice(1, 6) if yaw > 0 else slice(11, 16)
    assert pixels_inside_the_outline(head, yaw, yaw)[far].max() < 5
    assert pixels_inside_the_outline(head, yaw, -yaw)[far].mean() > 8, "the other turn's points don't"


def test_no_point_jumps_from_bin_to_bin(head: HeadModel) -> None:
    corners = head.v_template[head.faces[head.contour_faces]]
    points = (corners * head.contour_barycentrics[..., None]).sum(-2)
    for order in (list(range(40)), [0, *range(40, 79)]):
        for row, following in pairwise(order):
            yaw = math.radians(bin_yaw_deg(row))
            right = torch.tensor([math.cos(yaw), 0.0, -math.sin(yaw)])
            step = points[following] - points[row]
            assert torch.hypot(step @ right, step[:, 1]).max() < 0.004, "metres in the picture; depth may change more"
    torch.testing.assert_close(
        points[0], interpolate_on_faces(head.v_template, head.faces, *landmark_embedding(head))[:17]
    )


def test_the_sign_is_measured() -> None:
    head = builtin_head()
    v, faces = head.v_template.numpy(), head.faces.numpy()
    ours = (head.contour_faces.numpy(), head.contour_barycentrics.numpy())
    assert contour_turns_our_way(v, faces, ours)
    assert not contour_turns_our_way(v, faces, mirrored_rows(ours))
    np.testing.assert_array_equal(mirrored_rows(mirrored_rows(ours))[0], ours[0])
    assert (mirrored_rows(ours)[0][contour_bin(12)] == ours[0][contour_bin(-12)]).all()


def test_made_contour_is_like_the_builtin_heads_own() -> None:
    head = builtin_head()
    v, faces = head.v_template.double().numpy(), head.faces.numpy()
    inside = np.zeros(len(v), bool)
    inside[head.regions["face"].numpy()] = True
    inside &= v[:, 2] > 0.012
    jaw_line = (head.landmark_faces[:17].numpy(), head.landmark_barycentrics[:17].double().numpy())
    made = dynamic_contour(v, faces, np.flatnonzero(inside[faces].all(-1)), jaw_line)
    for row in (contour_bin(30), contour_bin(-30)):
        found, own = (
            np.einsum("nk,nkc->nc", weights[row], v[faces[ids[row]]])
            for ids, weights in (made, (head.contour_faces.numpy(), head.contour_barycentrics.numpy()))
        )
        assert np.linalg.norm(found - own, axis=-1).mean() < 0.008
