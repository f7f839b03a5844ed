"""Files as FLAME and ICT-FaceKit are published, made from the builtin head, and small."""

from __future__ import annotations

import functools
import pickle
import sys
import tempfile
import types
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import scipy.sparse
import torch

from headforge.flame.builtin.head import builtin_head
from headforge.flame.model import HeadModel, pose_head
from headforge.flame.readers.flame_files import FlameFiles
from headforge.flame.readers.ict import read_ict
from headforge.flame.readers.ict_layout import Chart, IctLayout, Part
from headforge.flame.readers.official import read_flame
from headforge.geometry.meshes import interpolate_on_faces

N_SHAPE, N_EXPR = 3, 2
JAW_OPENING_RAD = 0.4
ICT_EXPRESSIONS = ("eyeBlink_L", "eyeBlink_R", "jawOpen")


def flame_arrays(head: HeadModel) -> dict[str, object]:
    """The dict of FLAME's pickle, with a few of the builtin head's modes and random pose correctives."""
    rng = np.random.default_rng(0)
    columns = [*range(N_SHAPE), *range(head.n_shape, head.n_shape + N_EXPR)]
    table = np.array([[2**32 - 1, 0, 1, 1, 1], [0, 1, 2, 3, 4]], dtype=np.uint32)
    return {
        "v_template": head.v_template.double().numpy(),
        "shapedirs": head.shapedirs[..., columns].double().numpy(),
        "posedirs": 1e-4 * rng.normal(size=(head.n_vertices, 3, 36)),
        "J_regressor": scipy.sparse.csc_matrix(head.joint_regressor.double().numpy()),
        "kintree_table": table,
        "weights": head.skin_weights.double().numpy(),
        "f": head.faces.numpy().astype(np.uint32),
        "bs_style": "lbs",
        "bs_type": "lrotmin",
    }


def chumpy_pickle(arrays: dict[str, object], wrapped: tuple[str, ...] = ("v_template", "shapedirs")) -> bytes:
    """Protocol 2 with chumpy objects and scipy's and numpy's old module names, as the released files have."""
    module = types.ModuleType("chumpy.ch")
    ch = type("Ch", (), {"__module__": "chumpy.ch"})
    module.Ch = ch  # type: ignore[attr-defined]
    sys.modules |= {"chumpy": types.ModuleType("chumpy"), "chumpy.ch": module}
    try:
        values = dict(arrays)
        for name in wrapped:
            values[name] = ch()
            values[name].__dict__.update(x=arrays[name], _dirty_vars=set(), _itr=None)  # type: ignore[attr-defined]
        data = pickle.dumps(values, protocol=2)
    finally:
        del sys.modules["chumpy"], sys.modules["chumpy.ch"]
    for new, old in (("scipy.sparse._csc", "scipy.sparse.csc"), ("numpy._core.multiarray", "numpy.core.multiarray")):
        data = data.replace(new.encode() + b"\n", old.encode() + b"\n")
    return data


def write_flame(folder: Path, *, mirror_contour: bool = False, name: str = "flame2023.pkl") -> FlameFiles:
    """All of FLAME's files for the builtin head's topology; the landmark file holds tensors too, as the real one."""
    head = builtin_head()
    folder.mkdir(exist_ok=True)
    (folder / name).write_bytes(chumpy_pickle(flame_arrays(head)))
    rows = [0, *range(40, 79), *range(1, 40)] if mirror_contour else list(range(79))
    eyes = [head.regions[f"{side}_eyeball"] for side in ("left", "right")]
    front = [ids[head.v_template[ids, 2].argmax()] for ids in eyes]
    pupil_faces = torch.tensor([int((head.faces == v).nonzero()[0, 0]) for v in front])
    pupil_weights = (head.faces[pupil_faces] == torch.stack(front)[:, None]).double()
    embedding = {
        "full_lmk_faces_idx": torch.cat([head.landmark_faces, pupil_faces])[None].numpy(),
        "full_lmk_bary_coords": torch.cat([head.landmark_barycentrics.double(), pupil_weights])[None],
        "dynamic_lmk_faces_idx": head.contour_faces[rows],
        "dynamic_lmk_bary_coords": head.contour_barycentrics[rows].double(),
        "static_lmk_faces_idx": head.landmark_faces[17:].numpy(),
        "static_lmk_bary_coords": head.landmark_barycentrics[17:].double().numpy(),
    }
    np.save(folder / "landmark_embedding_with_eyes.npy", np.array(embedding, dtype=object), allow_pickle=True)
    masks = {region: ids.numpy().astype(np.uint32) for region, ids in head.regions.items()}
    (folder / "FLAME_masks.pkl").write_bytes(pickle.dumps(masks, protocol=2))
    _write_obj(folder / "head_template.obj", head)
    for side, letter in (("left", "l"), ("right", "r")):
        column = head.n_shape + head.expression_names.index(f"blink_{side}")
        np.save(folder / f"{letter}_eyelid.npy", head.shapedirs[..., column].double().numpy())
    return FlameFiles(
        folder / name, folder / "landmark_embedding_with_eyes.npy", None, folder / "FLAME_masks.pkl",
        folder / "head_template.obj", folder / "l_eyelid.npy", folder / "r_eyelid.npy",
    )  # fmt: skip


def _write_obj(path: Path, head: HeadModel) -> None:
    """The head's topology with its triangles in another order and turned, and another shape: only its uvs count."""
    lines = [f"v {x:.6f} {y + 1.5:.6f} {z:.6f}" for x, y, z in head.v_template.tolist()]
    lines += [f"vt {u:.6f} {v:.6f}" for u, v in head.uvs.tolist()]
    both = torch.stack([head.faces, head.uv_faces], dim=-1).roll(1, dims=1).flip(0) + 1
    lines += ["f " + " ".join(f"{v}/{vt}" for v, vt in face) for face in both.tolist()]
    path.write_text("\n".join(["mtllib head.mtl", *lines]) + "\n")


@functools.cache
def flame_like_head() -> HeadModel:
    """What `read_flame` makes of `write_flame`'s files."""
    with tempfile.TemporaryDirectory() as folder:
        return read_flame(write_flame(Path(folder)), n_shape=N_SHAPE)


@functools.cache
def ict_like_head() -> HeadModel:
    """What `read_ict` makes of `write_ict`'s folder."""
    with tempfile.TemporaryDirectory() as folder:
        fake = write_ict(Path(folder))
        return read_ict(fake.folder, fake.layout)


@dataclass(frozen=True)
class IctFake:
    """An ICT-like folder and where its vertices come from."""

    folder: Path
    layout: IctLayout
    source: np.ndarray
    """The builtin head's vertex of each kept vertex."""


def write_ict(folder: Path) -> IctFake:
    """The builtin head in ICT-FaceKit's layout: parts one after another, centimetres, a tile of texture for each part.

    Two identity shapes, three expressions; `jawOpen` is the builtin jaw turned by `JAW_OPENING_RAD`. The shapes repeat
    no triangles, which the real ones do. A few vertices and a triangle follow the parts, as ICT's lashes do, and must
    be left out.
    """
    head = builtin_head()
    regions = head.regions
    parts = _ict_parts(head)
    source = torch.cat(list(parts.values()))
    place = torch.empty(head.n_vertices, dtype=torch.int64)
    place[source] = torch.arange(len(source))
    ends = torch.tensor([len(ids) for ids in parts.values()]).cumsum(0)
    faces = place[head.faces]
    part_of_face = torch.searchsorted(ends, faces.amax(-1), right=True)
    order = part_of_face.argsort(stable=True)
    face_ends = torch.bincount(part_of_face, minlength=len(parts)).cumsum(0).tolist()
    layout = IctLayout(
        n_vertices=len(source) + 3,
        n_polygons=len(faces) + 1,
        parts=tuple(Part(n, int(v), f) for n, v, f in zip(parts, ends, face_ends, strict=True)),
        charts=tuple(Chart(f, (k / 10, 0.0, (k + 1) / 10, 1.0)) for k, f in enumerate(face_ends)),
        jaw_line=(),
        n_narrow_face=len(regions["face"]),
        n_sclera=len(regions["left_eyeball"]),
    )
    folder.mkdir(exist_ok=True)
    lines = [f"vt {u + t:.6f} {v:.6f}" for t in range(len(parts)) for u, v in head.uvs.tolist()]
    uv_faces = head.uv_faces + part_of_face[:, None] * len(head.uvs)
    both = torch.stack([faces, uv_faces], dim=-1)[order] + 1
    lines += ["f " + " ".join(f"{v}/{vt}" for v, vt in face) for face in both.tolist()]
    lines.append(f"f {len(source) + 1}/1 {len(source) + 2}/1 {len(source) + 3}/1")

    def write(name: str, vertices: torch.Tensor) -> None:
        rows = torch.cat([100 * vertices[source], torch.zeros(3, 3)]).tolist()
        surface = lines if name == "generic_neutral_mesh" else []
        text = "\n".join(["# a comment", *(f"v {x:.6f} {y:.6f} {z:.6f}" for x, y, z in rows), *surface])
        (folder / f"{name}.obj").write_text(text + "\n")

    write("generic_neutral_mesh", head.v_template)
    for n in range(2):
        write(f"identity{n:03d}", head.v_template + head.shapedirs[..., n])
    for name, old in (("eyeBlink_L", "blink_left"), ("eyeBlink_R", "blink_right")):
        write(name, head.v_template + head.shapedirs[..., head.n_shape + head.expression_names.index(old)])
    jaw = head.neutral((1,)).replace(jaw=torch.tensor([[JAW_OPENING_RAD, 0.0, 0.0]]))
    write("jawOpen", pose_head(head, jaw)[0])
    marks = interpolate_on_faces(head.v_template, head.faces, head.landmark_faces, head.landmark_barycentrics)
    on_skin = head.v_template[torch.cat([parts["face"], parts["head"]])]
    nearest = torch.cdist(marks, on_skin).argmin(-1)
    quoted = ", ".join(f'"{name}"' for name in ("browDown_L", *ICT_EXPRESSIONS))
    (folder / "vertex_indices.json").write_text(
        f'{{"expressions": [{quoted}], "idx_to_landmark_verts": {nearest.tolist()}}}'
    )
    return IctFake(folder, layout, source.numpy())


def _ict_parts(head: HeadModel) -> dict[str, torch.Tensor]:
    """The builtin head's vertices by ICT's parts, each vertex once."""
    regions = head.regions
    half = len(regions["lid_rims"]) // 2
    named = {
        "left_eye_socket": regions["lid_rims"][:half],
        "right_eye_socket": regions["lid_rims"][half:],
        "gums": regions["tongue"],
        **{name: regions[name] for name in ("mouth_interior", "teeth", "left_eyeball", "right_eyeball")},
    }
    rest = torch.ones(head.n_vertices, dtype=torch.bool)
    for ids in (regions["face"], *named.values()):
        rest[ids] = False
    parts = {"face": regions["face"], "head": rest.nonzero()[:, 0], **named}
    order = ("face", "head", "mouth_interior", "left_eye_socket", "right_eye_socket", "gums", "teeth", "left_eyeball",
             "right_eyeball")  # fmt: skip
    return {name: parts[name] for name in order}
