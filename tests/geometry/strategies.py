"""Random rotations, points and cameras for property tests, in double precision."""

from __future__ import annotations

import torch
from hypothesis import strategies as st

from headforge.geometry.cameras import look_at
from headforge.types import Camera


def vectors(size: int, bound: float) -> st.SearchStrategy[torch.Tensor]:
    number = st.floats(-bound, bound, allow_subnormal=False)
    return st.lists(number, min_size=size, max_size=size).map(lambda v: torch.tensor(v, dtype=torch.float64))


def axis_angles(bound: float = 3.0) -> st.SearchStrategy[torch.Tensor]:
    return vectors(3, bound / 3**0.5)


@st.composite
def cameras(draw: st.DrawFn) -> Camera:
    """Cameras that look at a point from a distance of at least 0.3, never along the y axis."""
    target = draw(vectors(3, 0.5))
    yaw, pitch = draw(st.floats(-3.1, 3.1)), draw(st.floats(-1.4, 1.4))
    yaw_t, pitch_t = torch.tensor(yaw, dtype=torch.float64), torch.tensor(pitch, dtype=torch.float64)
    direction = torch.stack([yaw_t.sin() * pitch_t.cos(), pitch_t.sin(), yaw_t.cos() * pitch_t.cos()])
    viewmat = look_at(target + draw(st.floats(0.3, 5.0)) * direction, target)
    width, height = draw(st.integers(8, 1024)), draw(st.integers(8, 1024))
    fx, fy = draw(st.floats(50, 2000)), draw(st.floats(50, 2000))
    cx, cy = draw(st.floats(0, 1)) * width, draw(st.floats(0, 1)) * height
    K = torch.tensor([[fx, 0, cx], [0, fy, cy], [0, 0, 1]], dtype=torch.float64)
    return Camera(K, viewmat, width, height)
