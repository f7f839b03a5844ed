"""FLAME's published files as a head model; the files are made here, as FLAME's are written."""

from __future__ import annotations

import dataclasses
import os
import pickle
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse
import torch

from headforge.errors import InputError, ModelMismatchError
from headforge.flame.builtin.head import builtin_head
from headforge.flame.eyelids import eyelid_offsets
from headforge.flame.files import load_head, save_head
from headforge.flame.landmark_sets import landmark_embedding
from headforge.flame.model import HeadModel, pose_head
from headforge.flame.readers.flame_files import FlameFiles, read_arrays, sort_flame_files
from headforge.flame.readers.official import read_flame
from headforge.pickles import ForbiddenNameError, PickleFormatError
from tests.flame.foreign import N_EXPR, N_SHAPE, chumpy_pickle, flame_arrays, write_flame


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> FlameFiles:
    return write_flame(tmp_path_factory.mktemp("flame"))


@pytest.fixture(scope="module")
def model(files: FlameFiles) -> HeadModel:
    return read_flame(files, n_shape=N_SHAPE)


def small_arrays() -> dict[str, object]:
    """FLAME's dict for a mesh of 40 vertices: for what is wrong before the landmarks are read."""
    rng = np.random.default_rng(0)
    weights = rng.random((40, 5))
    return {
        "v_template": rng.normal(size=(40, 3)),
        "shapedirs": rng.normal(size=(40, 3, 8)),
        "posedirs": rng.normal(size=(40, 3, 36)),
        "J_regressor": scipy.sparse.csc_matrix(rng.random((5, 40))),
        "kintree_table": np.array([[2**32 - 1, 0, 1, 1, 1], [0, 1, 2, 3, 4]], dtype=np.uint32),
        "weights": weights / weights.sum(-1, keepdims=True),
        "f": rng.integers(0, 40, (70, 3)).astype(np.uint32),
    }


def written(folder: Path, arrays: dict[str, object], name: str = "generic_model.pkl") -> Path:
    path = folder / name
    path.write_bytes(pickle.dumps(arrays, protocol=2))
    return path


def test_every_array_arrives(model: HeadModel) -> None:
    source = builtin_head()
    for name in ("v_template", "skin_weights", "faces", "landmark_faces", "landmark_barycentrics", "contour_faces",
                 "contour_barycentrics", "joint_regressor"):  # fmt: skip
        torch.testing.assert_close(getattr(model, name), getattr(source, name), msg=name)
    assert (model.n_shape, model.n_expr) == (N_SHAPE, N_EXPR)
    torch.testing.assert_close(model.shapedirs[..., :N_SHAPE], source.shapedirs[..., :N_SHAPE])
    posedirs = flame_arrays(source)["posedirs"]
    assert isinstance(posedirs, np.ndarray)
    assert model.posedirs[7, 3 * 100 + 2] == pytest.approx(posedirs[100, 2, 7])
    assert model.model_id.startswith("flame2023-") and len(model.model_id) == len("flame2023-") + 12
    assert {name: ids.tolist() for name, ids in model.regions.items()} == {
        name: sorted(ids.tolist()) for name, ids in source.regions.items()
    }


def test_teeth_are_appended_to_flames_own_topology(
    files: FlameFiles, model: HeadModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("headforge.flame.readers.official.TEETH_TOPOLOGY", model.n_vertices)
    with_teeth = read_flame(files, n_shape=N_SHAPE)
    assert (with_teeth.n_vertices, len(with_teeth.faces)) == (model.n_vertices + 120, len(model.faces) + 168)
    assert with_teeth.model_id == model.model_id, "the same parameters pose both"
    assert len(with_teeth.eyelids) == with_teeth.n_vertices
    assert read_flame(files, n_shape=N_SHAPE, with_teeth=False).n_vertices == model.n_vertices


def test_texture_comes_from_the_template_whatever_its_order(model: HeadModel) -> None:
    source = builtin_head()
    torch.testing.assert_close(model.uvs[model.uv_faces], source.uvs[source.uv_faces], atol=1e-6, rtol=0)


def test_pupils_are_ordered_right_then_left(model: HeadModel) -> None:
    torch.testing.assert_close(landmark_embedding(model, 70)[0][68:], landmark_embedding(builtin_head(), 70)[0][68:])


def test_the_sign_of_the_contour_does_not_matter(model: HeadModel, tmp_path: Path) -> None:
    mirrored = read_flame(write_flame(tmp_path, mirror_contour=True), n_shape=N_SHAPE)
    assert torch.equal(mirrored.contour_faces, model.contour_faces)


def test_eyelids(model: HeadModel) -> None:
    source = builtin_head()
    amounts = torch.tensor([[0.7, 0.2]])
    torch.testing.assert_close(eyelid_offsets(model, amounts), eyelid_offsets(source, amounts))


def test_plain_and_chumpy_pickles_are_one_model(model: HeadModel, files: FlameFiles, tmp_path: Path) -> None:
    cleaned = written(tmp_path, flame_arrays(builtin_head()), "flame2023.pkl")
    again = read_flame(dataclasses.replace(files, model=cleaned), n_shape=N_SHAPE)
    assert again.model_id == model.model_id
    other = written(tmp_path, flame_arrays(builtin_head()), "generic_model.pkl")
    older = read_flame(dataclasses.replace(files, model=other), n_shape=N_SHAPE)
    assert older.model_id.startswith("flame2020-")
    with pytest.raises(ModelMismatchError) as caught:
        pose_head(older, model.neutral((1,)))
    assert (caught.value.expected, caught.value.found) == (older.model_id, model.model_id)


def test_without_masks_template_and_eyes(files: FlameFiles, tmp_path: Path) -> None:
    head = builtin_head()
    np.save(
        tmp_path / "landmark_embedding.npy",
        np.array(
            {
                "full_lmk_faces_idx": head.landmark_faces[None].numpy(),
                "full_lmk_bary_coords": head.landmark_barycentrics[None].numpy(),
            },
            dtype=object,
        ),
        allow_pickle=True,
    )
    model = read_flame(FlameFiles(files.model, tmp_path / "landmark_embedding.npy"), n_shape=N_SHAPE)
    assert model.contour_faces.shape == (79, 17), "made where the files have none"
    assert model.uvs.min() >= 0 and model.uvs.max() <= 1 and model.uv_faces.max() < len(model.uvs)
    u = model.uvs[model.uv_faces][..., 0]
    assert ((u.amax(-1) - u.amin(-1)) < 0.3).float().mean() > 0.98, "only the crown's triangles go round the cylinder"
    for name in ("face", "neck", "scalp", "left_eyeball", "right_eyeball"):
        middle = model.v_template[model.regions[name]].mean(0)
        assert (middle - head.v_template[head.regions[name]].mean(0)).norm() < 0.035, name
    assert torch.equal(landmark_embedding(model, 70)[0][68:], landmark_embedding(head, 70)[0][68:])


def test_flame_pytorchs_static_and_dynamic_files(files: FlameFiles, model: HeadModel, tmp_path: Path) -> None:
    head = builtin_head()
    static = {"lmk_face_idx": head.landmark_faces[17:].numpy(), "lmk_b_coords": head.landmark_barycentrics[17:].numpy()}
    (tmp_path / "flame_static_embedding.pkl").write_bytes(pickle.dumps(static, protocol=2))
    inner = FlameFiles(files.model, tmp_path / "flame_static_embedding.pkl")
    with pytest.raises(InputError, match="no file gives the jaw line"):
        read_flame(inner, n_shape=N_SHAPE)
    dynamic = {"lmk_face_idx": head.contour_faces.numpy(), "lmk_b_coords": head.contour_barycentrics.numpy()}
    np.save(tmp_path / "flame_dynamic_embedding.npy", np.array(dynamic, dtype=object), allow_pickle=True)
    both = dataclasses.replace(inner, contour=tmp_path / "flame_dynamic_embedding.npy")
    found = read_flame(both, n_shape=N_SHAPE)
    assert torch.equal(found.landmark_faces, model.landmark_faces)
    assert torch.equal(found.contour_faces, model.contour_faces)


def test_converted_once(model: HeadModel, tmp_path: Path) -> None:
    save_head(model, tmp_path / "head.safetensors")
    again = load_head(tmp_path / "head.safetensors")
    assert again.model_id == model.model_id and torch.equal(again.eyelids, model.eyelids)
    params = model.neutral((1,)).replace(jaw=torch.tensor([[0.2, 0.0, 0.0]]))
    assert torch.equal(pose_head(again, params), pose_head(model, params))


def test_files_are_told_apart_by_name(files: FlameFiles) -> None:
    assert sort_flame_files([files.model.parent]) == files
    several = [files.model, files.landmarks]
    assert sort_flame_files(several) == FlameFiles(files.model, files.landmarks)
    with pytest.raises(InputError, match="no file for FLAME's landmarks"):
        sort_flame_files([files.model])
    with pytest.raises(InputError, match="no file for FLAME's model"):
        sort_flame_files([files.landmarks])
    with pytest.raises(InputError, match="one model is needed"):
        sort_flame_files([*several, files.model.with_name("generic_model.pkl")])


class Hostile:
    """Deletes a file when it is loaded by plain pickle."""

    def __init__(self, victim: Path) -> None:
        self.victim = victim

    def __reduce__(self) -> tuple[object, ...]:
        return os.remove, (str(self.victim),)


@pytest.mark.parametrize("key", ["v_template", "bs_style"])
def test_a_hostile_class_is_refused_by_name(tmp_path: Path, key: str) -> None:
    victim = tmp_path / "precious"
    victim.touch()
    path = written(tmp_path, small_arrays() | {key: Hostile(victim)})
    with pytest.raises(ForbiddenNameError) as caught:
        read_arrays(path)
    assert caught.value.name == "posix.remove" and "posix.remove" in caught.value.message
    assert victim.exists()


@pytest.mark.parametrize("share", [0.0, 0.3, 0.5, 0.99])
def test_cut_off_files(tmp_path: Path, files: FlameFiles, share: float) -> None:
    arrays = small_arrays()
    data = chumpy_pickle(arrays)
    path = tmp_path / "flame2023.pkl"
    path.write_bytes(data[: int(share * len(data))])
    with pytest.raises(InputError) as caught:
        read_arrays(path)
    assert isinstance(caught.value, PickleFormatError) or share == 0
    half = tmp_path / "landmark_embedding.npy"
    data = files.landmarks.read_bytes()
    half.write_bytes(data[: int(share * len(data))])
    with pytest.raises(InputError):
        read_flame(dataclasses.replace(files, landmarks=half), n_shape=N_SHAPE)


@pytest.mark.parametrize("key", ["v_template", "shapedirs", "posedirs", "J_regressor", "kintree_table", "weights", "f"])
def test_missing_keys_and_wrong_shapes(tmp_path: Path, key: str) -> None:
    arrays = small_arrays()
    value = arrays.pop(key)
    with pytest.raises(InputError, match=f"lacks '{key}'"):
        read_arrays(written(tmp_path, arrays))
    wrong = value.toarray() if scipy.sparse.issparse(value) else np.asarray(value)
    with pytest.raises(InputError) as caught:
        read_arrays(written(tmp_path, arrays | {key: wrong[:-1] if key == "shapedirs" else wrong[..., :-1]}))
    assert f"'{key}'" in caught.value.message
    with pytest.raises(InputError, match="expected"):
        read_arrays(written(tmp_path, arrays | {key: "words"}))
    if wrong.dtype.kind == "f":
        wrong = wrong.copy()
        wrong.flat[0] = np.nan
        with pytest.raises(InputError, match="not finite"):
            read_arrays(written(tmp_path, arrays | {key: wrong}))


def test_other_contradictions(tmp_path: Path, files: FlameFiles) -> None:
    arrays = small_arrays()
    body = np.array([[2**32 - 1, 0, 0, 0, 1], [0, 1, 2, 3, 4]], dtype=np.uint32)
    for changes, said in (
        ({"kintree_table": body}, "parents"),
        ({"f": np.full((9, 3), 40)}, "more than its 40 vertices"),
        ({"weights": np.full((40, 5), 0.1)}, "don't sum to 1"),
    ):
        with pytest.raises(InputError, match=said):
            read_arrays(written(tmp_path, arrays | changes))
    with pytest.raises(InputError, match="holds a list"):
        read_arrays(written(tmp_path, [1, 2]))  # type: ignore[arg-type]
    path = written(tmp_path, arrays)
    with pytest.raises(InputError, match="none expression"):
        read_flame(dataclasses.replace(files, model=path))
    with pytest.raises(InputError, match="refers to triangle"):
        read_flame(dataclasses.replace(files, model=path), n_shape=4)


def test_files_of_another_topology(files: FlameFiles, tmp_path: Path) -> None:
    masks = tmp_path / "FLAME_masks.pkl"
    masks.write_bytes(pickle.dumps({"face": np.array([0, 10**6])}))
    with pytest.raises(InputError, match="refers to vertex 1000000"):
        read_flame(dataclasses.replace(files, masks=masks), n_shape=N_SHAPE)
    masks.write_bytes(pickle.dumps({"face": np.array([0.5])}))
    with pytest.raises(InputError, match="not a list of vertices"):
        read_flame(dataclasses.replace(files, masks=masks), n_shape=N_SHAPE)
    template = tmp_path / "other.obj"
    template.write_text("v 0 0 0\nv 1 0 0\nv 0 1 0\nvt 0 0\nf 1/1 2/1 3/1\n")
    with pytest.raises(InputError, match="lacks"):
        read_flame(dataclasses.replace(files, template=template), n_shape=N_SHAPE)
    np.save(tmp_path / "l_eyelid.npy", np.zeros((7, 3)))
    with pytest.raises(InputError, match="l_eyelid"):
        read_flame(dataclasses.replace(files, left_eyelid=tmp_path / "l_eyelid.npy"), n_shape=N_SHAPE)
