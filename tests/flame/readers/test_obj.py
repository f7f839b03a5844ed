"""Reading OBJ files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from headforge.errors import InputError
from headforge.flame.readers.obj import read_obj, read_obj_vertices, triangulate

SQUARE_AND_TRIANGLE = """# two polygons
mtllib a.mtl
v 0 0 0
v 1 0 0
v 1 1 0
v 0 1 0
vt 0.5 0.25
vt 1 1
vn 0 0 1
v -1e-1 2 0.5
usemtl skin
f 1/1/1 2/2/1 3/1/1 4/2/1
f 4//1 3//1 5//1
"""


def written(folder: Path, text: str) -> Path:
    path = folder / "a.obj"
    path.write_text(text)
    return path


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_vertices_polygons_and_texture(tmp_path: Path, newline: str) -> None:
    path = tmp_path / "a.obj"
    path.write_bytes(SQUARE_AND_TRIANGLE.replace("\n", newline).encode())
    mesh = read_obj(path)
    assert mesh.vertices[4].tolist() == [-0.1, 2, 0.5]
    assert mesh.polygons.tolist() == [[0, 1, 2, 3], [3, 2, 4, -1]]
    assert mesh.uvs.tolist() == [[0.5, 0.25], [1, 1]]
    assert mesh.uv_polygons.tolist() == [[0, 1, 0, 1], [-1, -1, -1, -1]]
    np.testing.assert_array_equal(read_obj_vertices(path, 5), mesh.vertices)


def test_triangulate_keeps_the_order_and_the_winding() -> None:
    faces, owner = triangulate(np.array([[0, 1, 2, 3], [3, 2, 4, -1], [5, 6, 7, 8]]))
    assert faces.tolist() == [[0, 1, 2], [0, 2, 3], [3, 2, 4], [5, 6, 7], [5, 7, 8]]
    assert owner.tolist() == [0, 0, 1, 2, 2]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "hello",
        "v 0 0 0\nv 1 0 0\nv 0 1 0\n",
        "v 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 3\n",
        "v 0 0 nan\nv 1 0 0\nv 0 1 0\nf 1 2 3\n",
        "v 0 0 x\nv 1 0 0\nv 0 1 0\nf 1 2 3\n",
        "v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 4\n",
        "v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 -1\n",
        "v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1/1 2/1 3/1\n",
        "v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2\n",
        "v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 3 1 2\n",
        "v 0 0 0\nv 1 0 0\nv 0 1 0\nf a b c\n",
    ],
)
def test_bad_files_are_typed_errors(tmp_path: Path, text: str) -> None:
    with pytest.raises(InputError) as caught:
        read_obj(written(tmp_path, text))
    assert "a.obj" in caught.value.path


def test_missing_file_and_other_topology(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="can't be read"):
        read_obj(tmp_path / "none.obj")
    with pytest.raises(InputError, match="has 5 vertices, the neutral mesh has 6"):
        read_obj_vertices(written(tmp_path, SQUARE_AND_TRIANGLE), 6)
