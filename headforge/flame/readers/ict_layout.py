"""Where the parts of ICT-FaceKit's light model lie in its mesh (the tables of its README)."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Part:
    """A range of vertices and of polygons that follows the one before."""

    name: str
    end_vertex: int
    """One past its last vertex."""
    end_polygon: int
    """One past its last polygon; polygons may also use vertices of the parts before."""


@dataclass(frozen=True)
class Chart:
    """A range of polygons with a unit square of texture coordinates of its own, and its place in the common texture."""

    end_polygon: int
    """One past its last polygon; charts follow one another."""
    box: tuple[float, float, float, float]
    """u0, v0, u1, v1."""


@dataclass(frozen=True)
class IctLayout:
    """Topology of a model in ICT-FaceKit's format. Anything after the last part is left out."""

    n_vertices: int
    n_polygons: int
    parts: tuple[Part, ...]
    charts: tuple[Chart, ...]
    jaw_line: tuple[int, ...]
    """17 vertices along the jaw from the subject's right to the left, in place of the first 17 landmarks, where a
    detector marks it; may be empty, then the landmarks of `vertex_indices.json` stay."""
    n_narrow_face: int
    """Number of the face's first vertices in the narrow face area: without ears, throat and the back of the head."""
    n_sclera: int
    """Number of an eyeball's first vertices in its outer shell; the iris inside is another sphere."""

    def start_vertex(self, name: str) -> int:
        """Return the first vertex of a part."""
        names = [part.name for part in self.parts]
        place = names.index(name)
        return self.parts[place - 1].end_vertex if place else 0


LIGHT = IctLayout(
    n_vertices=26719,
    n_polygons=26384,
    parts=(
        Part("face", 9409, 9230),
        Part("head", 11248, 11144),
        Part("mouth_interior", 13294, 13226),
        Part("left_eye_socket", 13678, 13630),
        Part("right_eye_socket", 14062, 14034),
        Part("gums", 17039, 17006),
        Part("teeth", 21451, 21496),
        Part("left_eyeball", 23021, 23094),
        Part("right_eyeball", 24591, 24692),
    ),
    charts=(
        Chart(9230, (0.0, 0.4, 0.6, 1.0)),
        Chart(14034, (0.6, 0.6, 1.0, 1.0)),
        Chart(17006, (0.6, 0.3, 0.9, 0.6)),
        Chart(21496, (0.3, 0.1, 0.6, 0.4)),
        Chart(22296, (0.0, 0.2, 0.2, 0.4)),
        Chart(23094, (0.2, 0.2, 0.3, 0.3)),
        Chart(23894, (0.0, 0.0, 0.2, 0.2)),
        Chart(24692, (0.2, 0.0, 0.3, 0.1)),
    ),
    jaw_line=(1642, 1273, 14, 820, 1901, 844, 1674, 2195, 965, 4386, 3881, 3085, 4101, 3061, 2255, 3491, 3851),
    n_narrow_face=6706,
    n_sclera=770,
)
"""The light model of the public repository. Its jaw line is where dlib marks it on the near side of 42 renderings, yaw
within 30 degrees (root mean square 2.6 to 6.6 % of the outer-eye distance a point; the file's own: 4 to 12 %)."""
