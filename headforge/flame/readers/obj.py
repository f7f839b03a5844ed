"""Wavefront OBJ files: vertices, texture coordinates and polygons with three or four corners."""

from __future__ import annotations

import re
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from headforge.errors import InputError

_VERTEX = re.compile(rb"^v[ \t]+(.*)$", re.MULTILINE)
_UV = re.compile(rb"^vt[ \t]+(\S+[ \t]+\S+)", re.MULTILINE)
_POLYGON = re.compile(rb"^f[ \t]+(.*)$", re.MULTILINE)
_HELP = "give the file as its publisher ships it; download it again if it was cut off."


@dataclass(frozen=True)
class ObjMesh:
    """N vertices, T texture coordinates, P polygons; all ids start at 0."""

    vertices: np.ndarray
    """[N, 3] float64, in the file's unit."""
    polygons: np.ndarray
    """[P, 4] vertex ids; the last one of a triangle is -1."""
    uvs: np.ndarray
    """[T, 2]; empty if the file has none."""
    uv_polygons: np.ndarray
    """[P, 4] rows of `uvs`, -1 as in `polygons`; all -1 if the file has none."""


def read_obj(path: Path) -> ObjMesh:
    """Return the mesh in an OBJ file; materials, groups and normals are ignored.

    Raises InputError if the file is missing, isn't an OBJ, has polygons with more than four corners, or refers to
    vertices that it doesn't have.
    """
    text = _text(path)
    vertices = _numbers(path, _VERTEX.findall(text), 3, "vertices")
    uvs = _numbers(path, _UV.findall(text), 2, "texture coordinates")
    corners = [_corners(path, line) for line in _POLYGON.findall(text)]
    if not len(vertices) or not corners:
        raise InputError(path, f"'{path}' has {len(vertices)} vertices and {len(corners)} polygons.", _HELP)
    both = np.array(corners, dtype=np.int64)
    polygons, uv_polygons = both[..., 0], both[..., 1]
    if polygons.max() >= len(vertices) or uv_polygons.max() >= len(uvs) or polygons[:, :3].min() < 0:
        raise InputError(path, f"'{path}' refers to vertices that it does not have.", _HELP)
    return ObjMesh(vertices, polygons, uvs, uv_polygons)


def read_obj_vertices(path: Path, n_vertices: int) -> np.ndarray:
    """Return only the vertices [n_vertices, 3] of an OBJ file, for shapes of one topology. Raises InputError."""
    vertices = _numbers(path, _VERTEX.findall(_text(path)), 3, "vertices")
    if len(vertices) != n_vertices:
        raise InputError(path, f"'{path}' has {len(vertices)} vertices, the neutral mesh has {n_vertices}.", _HELP)
    return vertices


def triangulate(polygons: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Split polygons [P, 4] (-1 for no fourth corner); return triangles [F, 3] and the polygon [F] of each.

    The triangles of a quad (0, 1, 2, 3) are (0, 1, 2) and (0, 2, 3), one after the other.
    """
    both = np.stack([polygons[:, [0, 1, 2]], polygons[:, [0, 2, 3]]], axis=1)
    keep = np.stack([np.ones(len(polygons), bool), polygons[:, 3] >= 0], axis=1)
    return both[keep], np.nonzero(keep)[0]


def _text(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(path, f"'{path}' can't be read: {error.strerror}.", "give the path of an OBJ file.") from error


def _numbers(path: Path, lines: list[bytes], n_columns: int, what: str) -> np.ndarray:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", DeprecationWarning)  # numpy's signal that it stopped at a non-number
            flat = np.fromstring(b" ".join(lines), dtype=np.float64, sep=" ")
    except (ValueError, DeprecationWarning) as error:
        raise InputError(path, f"the {what} of '{path}' are not all numbers.", _HELP) from error
    if len(flat) != n_columns * len(lines) or not np.isfinite(flat).all():
        raise InputError(path, f"'{path}' has {len(lines)} {what} with {len(flat)} numbers.", _HELP)
    return flat.reshape(-1, n_columns)


def _corners(path: Path, line: bytes) -> list[tuple[int, int]]:
    """Return (vertex, uv) of a polygon's corners, padded with (-1, -1) to four."""
    try:
        corners = []
        for token in line.split():
            vertex, _, rest = token.partition(b"/")
            uv = rest.partition(b"/")[0]
            corners.append((int(vertex) - 1, int(uv) - 1 if uv else -1))
    except ValueError as error:
        raise InputError(path, f"'{path}' has the polygon '{line.decode(errors='replace')}'.", _HELP) from error
    if len(corners) not in (3, 4):
        raise InputError(
            path, f"'{path}' has a polygon with {len(corners)} corners.", "split its polygons into triangles or quads."
        )
    return corners + [(-1, -1)] * (4 - len(corners))
