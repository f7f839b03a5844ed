"""ICT-FaceKit's folder as a head model."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from headforge.errors import InputError, ModelMismatchError
from headforge.flame.builtin.head import builtin_head
from headforge.flame.files import load_head, save_head
from headforge.flame.landmark_sets import landmark_points
from headforge.flame.model import HeadModel, pose_head
from headforge.flame.readers.ict import read_ict
from headforge.geometry.meshes import face_normals
from tests.flame.foreign import ICT_EXPRESSIONS, JAW_OPENING_RAD, IctFake, write_ict

SHARED = Path(__file__).parents[4] / "shared" / "ict_facekit"
"""A part of the real model, beside the checkout where there is one."""


@pytest.fixture(scope="module")
def fake(tmp_path_factory: pytest.TempPathFactory) -> IctFake:
    return write_ict(tmp_path_factory.mktemp("ict"))


@pytest.fixture(scope="module")
def head(fake: IctFake) -> HeadModel:
    return read_ict(fake.folder, fake.layout)


@pytest.fixture
def broken(fake: IctFake, tmp_path: Path) -> Path:
    return Path(shutil.copytree(fake.folder, tmp_path / "FaceXModel"))


def posed(head: HeadModel, **fields: list[float]) -> Tensor:
    params = head.neutral((1,)).replace(**{name: torch.tensor([value]) for name, value in fields.items()})
    return pose_head(head, params)[0]


def test_sizes_names_and_units(head: HeadModel, fake: IctFake) -> None:
    source = builtin_head()
    assert head.n_vertices == source.n_vertices and len(head.faces) == len(source.faces), "what follows is left out"
    assert (head.n_shape, head.n_expr) == (2, 3)
    assert head.expression_names == ICT_EXPRESSIONS, "names in the index without a file are passed over"
    assert head.model_id.startswith("ict-facekit-2-3-")
    torch.testing.assert_close(head.v_template, source.v_template[fake.source], atol=1e-7, rtol=0)
    wanted = source.shapedirs[fake.source][..., [0, 1]]
    torch.testing.assert_close(head.shapedirs[..., :2], wanted, atol=2e-7, rtol=0)


def test_same_triangles_and_texture(head: HeadModel, fake: IctFake) -> None:
    source = builtin_head()
    theirs = {tuple(sorted(face)) for face in torch.tensor(fake.source)[head.faces].tolist()}
    assert theirs == {tuple(sorted(face)) for face in source.faces.tolist()}
    assert head.uvs.min() >= 0 and head.uvs.max() <= 1
    chart = (head.uvs[head.uv_faces, 0] * 10 - 1e-6).floor().clamp_min(0)
    assert (chart == chart[:, :1]).all(), "each part keeps to its own place in the texture"
    order = {tuple(sorted(face)): i for i, face in enumerate(source.faces.tolist())}
    rows = torch.tensor([order[tuple(sorted(face))] for face in torch.tensor(fake.source)[head.faces].tolist()])
    v_sum = source.uvs[source.uv_faces[rows]][..., 1].sum(-1)
    torch.testing.assert_close(head.uvs[head.uv_faces][..., 1].sum(-1), v_sum, atol=1e-5, rtol=0)


def test_jaw_joint_and_weights_are_those_that_made_the_shape(head: HeadModel, fake: IctFake) -> None:
    source = builtin_head()
    joints, wanted = head.joint_regressor @ head.v_template, source.joint_regressor @ source.v_template
    torch.testing.assert_close(joints[2:], wanted[2:], atol=2e-4, rtol=0)
    opened = posed(head, jaw=[JAW_OPENING_RAD, 0.0, 0.0])
    still = builtin_head().neutral((1,)).replace(jaw=torch.tensor([[JAW_OPENING_RAD, 0.0, 0.0]]))
    target = pose_head(source, still)[0][fake.source]
    assert (opened - target).norm(dim=-1).max() < 0.002
    assert (opened - target).norm(dim=-1).mean() < 0.0002
    assert (target - head.v_template).norm(dim=-1).max() > 0.02


def test_eyes_turn_rigidly_about_their_centres(head: HeadModel) -> None:
    ids = head.regions["left_eyeball"]
    turned = posed(head, eyes=[0.0, 0.4, 0.0, 0.0, 0.0, 0.0])
    centre = (head.joint_regressor @ head.v_template)[3]
    radius = (head.v_template[ids] - centre).norm(dim=-1)
    torch.testing.assert_close((turned[ids] - centre).norm(dim=-1), radius, atol=1e-6, rtol=0)
    others = torch.ones(head.n_vertices, dtype=torch.bool)
    others[ids] = False
    assert (turned - head.v_template)[others].abs().max() < 1e-6
    pupils = landmark_points(head, turned, 70)[68:]
    rest = landmark_points(head, head.v_template, 70)[68:]
    assert rest[0, 0] < 0 < rest[1, 0], "the subject's right pupil comes first"
    assert pupils[1, 0] > rest[1, 0] + 0.003 and torch.allclose(pupils[0], rest[0], atol=1e-6)


def test_weights_and_regions(head: HeadModel) -> None:
    assert torch.allclose(head.skin_weights.sum(-1), torch.ones(head.n_vertices), atol=1e-6)
    assert head.skin_weights.min() >= 0
    masks = {name: set(ids.tolist()) for name, ids in head.regions.items()}
    for a, b in (("face", "scalp"), ("face", "neck"), ("scalp", "neck"), ("face", "left_ear")):
        assert not masks[a] & masks[b], (a, b)
    assert masks["lips"] < masks["face"] and masks["nose"] < masks["face"]
    source = builtin_head()
    for name, tolerance in (("face", 0.0), ("neck", 0.02), ("scalp", 0.02)):
        middle = head.v_template[head.regions[name]].mean(0)
        wanted = source.v_template[source.regions[name]].mean(0)
        assert (middle - wanted).norm() < 0.02 + tolerance, name


def test_normals_point_outwards(head: HeadModel) -> None:
    outwards = face_normals(head.v_template, head.faces)[head.faces_of("nose")]
    assert outwards[:, 2].mean() > 0.3


def test_file_round_trip(head: HeadModel, tmp_path: Path) -> None:
    save_head(head, tmp_path / "head.safetensors")
    again = load_head(tmp_path / "head.safetensors")
    for field in dataclasses.fields(HeadModel):
        a, b = getattr(head, field.name), getattr(again, field.name)
        assert torch.equal(a, b) if isinstance(a, Tensor) else field.name == "regions" or a == b, field.name


def test_parameters_of_another_model_are_refused(head: HeadModel) -> None:
    with pytest.raises(ModelMismatchError):
        pose_head(head, builtin_head().neutral((1,)))


@pytest.mark.parametrize("name", ["generic_neutral_mesh.obj", "vertex_indices.json", "jawOpen.obj", "identity000.obj"])
def test_missing_files(broken: Path, fake: IctFake, name: str) -> None:
    (broken / name).unlink()
    with pytest.raises(InputError) as caught:
        read_ict(broken.parent, fake.layout)
    assert caught.value.help


@pytest.mark.parametrize("name", ["generic_neutral_mesh.obj", "vertex_indices.json", "jawOpen.obj", "identity001.obj"])
def test_half_a_file(broken: Path, fake: IctFake, name: str) -> None:
    data = (broken / name).read_bytes()
    (broken / name).write_bytes(data[: len(data) // 20])
    with pytest.raises(InputError) as caught:
        read_ict(broken, fake.layout)
    assert name in caught.value.path


def test_another_topology_and_a_jaw_that_stays_shut(broken: Path, fake: IctFake) -> None:
    with pytest.raises(InputError, match="the light model has 26719 and 26384"):
        read_ict(broken)
    shutil.copy(broken / "generic_neutral_mesh.obj", broken / "jawOpen.obj")
    with pytest.raises(InputError, match="turns the lower teeth by"):
        read_ict(broken, fake.layout)


def test_no_folder(tmp_path: Path) -> None:
    with pytest.raises(InputError):
        read_ict(tmp_path / "none")


@pytest.mark.skipif(not SHARED.is_dir(), reason="the part of ICT-FaceKit that this looks at is not beside the checkout")
def test_the_real_model() -> None:
    head = read_ict(SHARED)
    assert (head.n_vertices, head.n_shape, head.n_expr) == (24591, 8, 12)
    joints = head.joint_regressor @ head.v_template
    np.testing.assert_allclose(joints[3], [0.0312, 0.0360, 0.0798], atol=3e-4)
    points = landmark_points(head, head.v_template)
    assert points[0, 0] < 0 < points[16, 0] and points[8, 1] < points[:, 1].min() + 0.001
    wide = landmark_points(head, posed(head, jaw=[0.3, 0.0, 0.0]))
    assert points[8, 1] - wide[8, 1] > 0.015 and (wide[27:48] - points[27:48]).norm(dim=-1).max() < 0.002
    assert len(head.faces_of("teeth")) > 5000
