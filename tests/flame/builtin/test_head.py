"""The builtin head: format, anatomy, rig."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from headforge.flame.builtin.head import SKIN_CHART_BOTTOM, builtin_head
from headforge.flame.landmarks import bin_yaw_deg, contour_bin
from headforge.flame.model import JOINTS, HeadModel, landmarks, pose_head
from headforge.geometry.meshes import face_normals, interpolate_on_faces, vertex_normals


@pytest.fixture(scope="module")
def head() -> HeadModel:
    return builtin_head()


def posed(head: HeadModel, expression: dict[str, float] | None = None, **fields: list[float]) -> Tensor:
    params = head.neutral((1,))
    expr = params.expr.clone()
    for name, value in (expression or {}).items():
        expr[0, head.expression_names.index(name)] = value
    params = params.replace(expr=expr, **{name: torch.tensor([value]) for name, value in fields.items()})
    return pose_head(head, params)[0]


def marks(head: HeadModel, vertices: Tensor) -> Tensor:
    return landmarks(head, vertices[None])[0]


def test_sizes(head: HeadModel) -> None:
    assert 5000 <= head.n_vertices <= 7000
    assert head.n_shape >= 20
    assert head.n_expr >= 10
    assert len(head.expression_names) == head.n_expr == len(set(head.expression_names))
    assert head.shapedirs.shape == (head.n_vertices, 3, head.n_shape + head.n_expr)
    assert head.posedirs.shape == (36, 3 * head.n_vertices)
    assert head.landmark_faces.shape == (68,)
    assert head.contour_faces.shape == (79, 17)
    for name in ("v_template", "shapedirs", "skin_weights", "joint_regressor", "uvs"):
        assert getattr(head, name).isfinite().all(), name


def test_is_built_once_and_the_same_each_time(head: HeadModel) -> None:
    assert builtin_head() is head
    again = builtin_head.__wrapped__()
    assert torch.equal(again.v_template, head.v_template)
    assert torch.equal(again.shapedirs, head.shapedirs)


def test_proportions_in_metres(head: HeadModel) -> None:
    v = head.v_template
    assert v[:, 1].max().item() == pytest.approx(0.130, abs=0.005)
    skin = v[torch.cat([head.regions["face"], head.regions["scalp"]])]
    assert (skin[:, 2].max() - skin[:, 2].min()).item() == pytest.approx(0.22, abs=0.015), "nose tip to occiput"
    m = marks(head, v)
    assert (m[45] - m[36]).norm().item() == pytest.approx(0.09, abs=0.006), "outer eye corners"
    assert (m[54] - m[48]).norm().item() == pytest.approx(0.05, abs=0.005), "mouth"


def test_the_mean_head_is_symmetric(head: HeadModel) -> None:
    m = marks(head, head.v_template)
    left_of = [*range(16, 7, -1), *range(26, 21, -1), 35, 34, 45, 44, 43, 42, 47, 46, 54, 53, 52, 55, 56, 64, 63, 65]
    right = [*range(8), 8, *range(17, 22), 31, 32, 36, 37, 38, 39, 40, 41, 48, 49, 50, 59, 58, 60, 61, 67]
    mirrored = m[left_of] * torch.tensor([-1.0, 1, 1])
    assert (m[right] - mirrored).abs().max() < 5e-4


def test_landmark_order(head: HeadModel) -> None:
    m = marks(head, head.v_template)
    assert (m[:17, 0].diff() > -0.001).all(), "the jaw line runs from the subject's right (-x) to the left"
    assert (m[17:27, 0].diff() > 0).all(), "so do the brows"
    assert (m[27:31, 1].diff() < 0).all() and (m[27:31, 2].diff() > 0).all(), "down the bridge to the tip"
    assert m[30, 2] == m[:, 2].max(), "the tip of the nose is foremost"
    assert m[8, 1] == m[:, 1].min(), "the chin is lowest"
    assert m[36, 0] < m[39, 0] < 0 < m[42, 0] < m[45, 0]
    assert (m[[37, 38], 1] > m[[41, 40], 1]).all() and (m[[43, 44], 1] > m[[47, 46], 1]).all()
    assert m[48, 0] < m[60, 0] < m[64, 0] < m[54, 0]
    assert m[51, 1] > m[62, 1] >= m[66, 1] > m[57, 1]
    assert torch.allclose(head.landmark_barycentrics.sum(-1), torch.ones(68))
    assert head.landmark_barycentrics.min() >= 0


def test_eyes_lie_between_their_landmarks(head: HeadModel) -> None:
    m = marks(head, head.v_template)
    for side, corners in (("left", (42, 45)), ("right", (36, 39))):
        centre = head.v_template[head.regions[f"{side}_eyeball"]].mean(0)
        assert m[corners[0], 0] < centre[0] < m[corners[1], 0]
        assert (centre[0] > 0) == (side == "left")


def test_skin_weights(head: HeadModel) -> None:
    weights = head.skin_weights
    assert torch.allclose(weights.sum(-1), torch.ones(head.n_vertices), atol=1e-6)
    assert weights.min() >= 0
    assert (weights[head.regions["left_eyeball"], 3] == 1).all()
    assert (weights[head.regions["right_eyeball"], 4] == 1).all()
    assert (weights[head.regions["scalp"], 2] == 0).all()
    edges = torch.cat([head.faces[:, [0, 1]], head.faces[:, [1, 2]]])
    steps = (weights[edges[:, 0]] - weights[edges[:, 1]]).abs().amax(-1)
    assert steps.max() < 0.55, "weights are smooth along edges"


def test_joints_lie_where_they_should(head: HeadModel) -> None:
    joints: dict[str, Tensor] = dict(zip(JOINTS, head.joint_regressor @ head.v_template, strict=True))
    assert torch.allclose(head.joint_regressor.sum(-1), torch.ones(5), atol=1e-5)
    for side in ("left", "right"):
        centre = head.v_template[head.regions[f"{side}_eyeball"]]
        middle = (centre.amax(0) + centre.amin(0)) / 2
        assert (joints[f"{side}_eye"] - middle).norm() < 1e-3
    assert joints["root"][1] < joints["neck"][1] < joints["jaw"][1] < joints["left_eye"][1]


def test_vertices_are_linear_in_the_coefficients(head: HeadModel) -> None:
    generator = torch.Generator().manual_seed(1)
    a, b = torch.randn(2, head.n_shape, generator=generator)
    e = torch.randn(head.n_expr, generator=generator)

    def offset(shape: Tensor, expr: Tensor) -> Tensor:
        params = head.neutral((1,)).replace(shape=shape[None], expr=expr[None])
        return pose_head(head, params)[0] - head.v_template

    zero_s, zero_e = torch.zeros(head.n_shape), torch.zeros(head.n_expr)
    both = offset(0.5 * a - 2 * b, e)
    parts = 0.5 * offset(a, zero_e) - 2 * offset(b, zero_e) + offset(zero_s, e)
    assert (both - parts).abs().max() < 1e-5


def test_every_mode_is_visible_and_of_its_own_kind(head: HeadModel) -> None:
    dirs = head.shapedirs.reshape(-1, head.n_shape + head.n_expr)
    largest = head.shapedirs.norm(dim=1).amax(0)
    assert largest.min() > 0.0009, "about a millimetre per standard deviation or more"
    assert largest.max() < 0.014
    unit = dirs / dirs.norm(dim=0)
    overlap = unit.T @ unit - torch.eye(unit.shape[1])
    names = head.expression_names
    i, j = head.n_shape + names.index("smile"), head.n_shape + names.index("smile_left")
    overlap[i, j] = overlap[j, i] = 0
    assert overlap.abs().max() < 0.94


def test_the_jaw_opens_downwards(head: HeadModel) -> None:
    shut, wide = marks(head, posed(head)), marks(head, posed(head, jaw=[0.3, 0, 0]))
    assert (shut[62] - shut[66]).norm() < 1e-4, "the lips touch at rest"
    assert shut[8, 1] - wide[8, 1] > 0.015, "the chin goes down"
    assert wide[62, 1] - wide[66, 1] > 0.015, "the mouth opens"
    upper = [*range(17, 48), 51]
    assert (wide[upper] - shut[upper]).norm(dim=-1).max() < 1e-3, "the upper face stays"
    teeth = head.regions["teeth"]
    moved = (posed(head, jaw=[0.3, 0, 0]) - posed(head))[teeth].norm(dim=-1)
    assert (moved < 1e-6).sum() == len(teeth) // 2, "the upper teeth stay, the lower ones go along"


def test_eyes_turn_rigidly(head: HeadModel) -> None:
    ids = head.regions["left_eyeball"]
    turned = posed(head, eyes=[0.0, 0.3, 0.0, 0.0, 0.0, 0.0])
    rest = posed(head)
    assert torch.allclose(torch.pdist(turned[ids[::7]]), torch.pdist(rest[ids[::7]]), atol=1e-6)
    assert turned[ids[0], 0] > rest[ids[0], 0], "a positive yaw looks to the subject's left"
    others = torch.ones(head.n_vertices, dtype=torch.bool)
    others[ids] = False
    assert (turned - rest)[others].norm(dim=-1).max() < 1e-6


@pytest.mark.parametrize(
    ("name", "upper", "lower"), [("blink_left", [43, 44], [47, 46]), ("blink_right", [37, 38], [41, 40])]
)
@pytest.mark.parametrize("amount", [0.5, 1.0])
def test_blinking_shuts_the_eye_without_touching_the_eyeball(
    head: HeadModel, name: str, upper: list[int], lower: list[int], amount: float
) -> None:
    v = posed(head, {name: amount})
    m, rest = marks(head, v), marks(head, posed(head))
    gap, gap_at_rest = (x[upper, 1] - x[lower, 1] for x in (m, rest))
    assert (gap.abs() < 1.05 * (1 - amount) * gap_at_rest + 2e-4).all()
    side = name.removeprefix("blink_")
    eyeball = v[head.regions[f"{side}_eyeball"]]
    centre = (eyeball.amax(0) + eyeball.amin(0)) / 2
    lids = m[upper + lower]
    assert ((lids - centre).norm(dim=-1) > (eyeball - centre).norm(dim=-1).median()).all()


def test_smile_and_frown_move_the_corners(head: HeadModel) -> None:
    rest = marks(head, posed(head))
    for name, sign in (("smile", 1), ("frown", -1)):
        moved = marks(head, posed(head, {name: 1.0}))
        assert (sign * (moved[[48, 54], 1] - rest[[48, 54], 1]) > 0.002).all()


def test_texture_coordinates(head: HeadModel) -> None:
    assert head.uvs.min() >= 0 and head.uvs.max() <= 1
    assert head.uv_faces.shape == head.faces.shape
    assert head.uv_faces.max() < len(head.uvs)
    skin = torch.cat([head.regions[name] for name in ("face", "scalp", "neck")])
    is_skin = torch.zeros(head.n_vertices, dtype=torch.bool)
    is_skin[skin] = True
    chart = head.uvs[head.uv_faces[is_skin[head.faces].all(-1)]]
    assert chart[..., 1].min() >= SKIN_CHART_BOTTOM - 1e-6
    a, b = chart[:, 1] - chart[:, 0], chart[:, 2] - chart[:, 0]
    area = a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]
    assert (area >= -1e-9).all(), "no triangle of the skin is flipped in the texture"


def test_no_edge_is_used_twice_in_the_same_direction(head: HeadModel) -> None:
    directed = torch.cat([head.faces[:, [0, 1]], head.faces[:, [1, 2]], head.faces[:, [2, 0]]])
    keys = directed[:, 0] * head.n_vertices + directed[:, 1]
    assert len(keys.unique()) == len(keys), "orientable and consistently oriented"


def test_closed_parts_are_watertight_and_face_outwards(head: HeadModel) -> None:
    for name in ("left_eyeball", "right_eyeball"):
        faces = head.faces[head.faces_of(name)]
        directed = torch.cat([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
        keys = set((directed[:, 0] * head.n_vertices + directed[:, 1]).tolist())
        back = set((directed[:, 1] * head.n_vertices + directed[:, 0]).tolist())
        assert keys == back, f"{name} is closed"
        corners = head.v_template[faces]
        volume = (torch.linalg.cross(corners[:, 0], corners[:, 1]) * corners[:, 2]).sum() / 6
        assert volume > 7e-6


def test_the_only_open_edges_of_the_head_are_where_they_should_be(head: HeadModel) -> None:
    """The skin with mouth cavity and lid rims is open at the neck's end and inside the eyes only."""
    parts = {
        name: head.regions[name]
        for name in ("left_ear", "right_ear", "left_eyeball", "right_eyeball", "teeth", "tongue")
    }
    other = torch.zeros(head.n_vertices, dtype=torch.bool)
    for ids in parts.values():
        other[ids] = True
    faces = head.faces[~other[head.faces].any(-1)]
    directed = torch.cat([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    back = set((directed[:, 1] * head.n_vertices + directed[:, 0]).tolist())
    is_open = torch.tensor([key not in back for key in (directed[:, 0] * head.n_vertices + directed[:, 1]).tolist()])
    ends = head.v_template[directed[is_open].unique()]
    rims = torch.zeros(head.n_vertices, dtype=torch.bool)
    rims[head.regions["lid_rims"]] = True
    is_rim = rims[directed[is_open].unique()]
    assert is_rim.sum() == 48
    assert (ends[~is_rim][:, 1] < -0.15).all()


def test_triangles_face_outwards_at_rest(head: HeadModel) -> None:
    normals = face_normals(head.v_template, head.faces)
    scalp = head.faces_of("scalp")
    outwards = head.v_template[head.faces[scalp]].mean(1) - torch.tensor([0.0, 0.03, -0.01])
    assert ((normals[scalp] * outwards).sum(-1) > 0).all()
    smooth = vertex_normals(head.v_template, head.faces)[head.faces].mean(1)
    agree = (normals * smooth).sum(-1)
    face = head.faces_of("face")
    assert (agree[face] > 0).float().mean() > 0.995, "no folds in the face"


def test_moderate_identities_keep_the_face_free_of_folds(head: HeadModel) -> None:
    generator = torch.Generator().manual_seed(3)
    shape = torch.randn(6, head.n_shape, generator=generator).clamp(-2, 2)
    vertices = pose_head(head, head.neutral((6,)).replace(shape=shape))
    rest = face_normals(head.v_template, head.faces)
    face = head.faces_of("face")
    agree = (face_normals(vertices, head.faces) * rest).sum(-1)[:, face]
    assert (agree > 0).float().mean() > 0.995


def test_contour_of_the_frontal_bin_is_the_static_jaw_line(head: HeadModel) -> None:
    assert torch.equal(head.contour_faces[0], head.landmark_faces[:17])
    assert torch.allclose(head.contour_barycentrics.sum(-1), torch.ones(79, 17))
    assert head.contour_barycentrics.min() >= 0


def test_contour_rows_mirror_each_other(head: HeadModel) -> None:
    points = interpolate_on_faces(
        head.v_template, head.faces, head.contour_faces.flatten(), head.contour_barycentrics.flatten(0, 1)
    ).reshape(79, 17, 3)
    opposite = [contour_bin(-bin_yaw_deg(row)) for row in range(79)]
    mirrored = points[opposite].flip(1) * torch.tensor([-1.0, 1, 1])
    assert (points - mirrored).abs().max() < 2e-4


@pytest.mark.parametrize("yaw", [0, 10, -20, 30, -39])
def test_jaw_line_descends_evenly_to_the_chin(head: HeadModel, yaw: int) -> None:
    """No point under the chin or on the cheek: both halves go down, and no step is far longer than the others."""
    row = contour_bin(yaw)
    points = interpolate_on_faces(head.v_template, head.faces, head.contour_faces[row], head.contour_barycentrics[row])
    assert (points[:9, 1].diff() < 0.001).all() and (points[8:, 1].diff() > -0.001).all()
    angle = math.radians(yaw)
    right = torch.tensor([math.cos(angle), 0.0, -math.sin(angle)])
    steps = torch.stack([points @ right, points[:, 1]], -1).diff(dim=0).norm(dim=-1)
    assert 0.008 < steps.min() and steps.max() < 0.03, "distances as the camera sees them"
    near = points[9:] if yaw >= 0 else points[:8].flip(0)
    assert (near[:, 2].diff() < 0.004).all(), "the near half runs from the chin back to the ear"
