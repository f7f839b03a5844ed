"""Rasterizing the texture."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from headforge.errors import ConfigError
from headforge.flame.builtin.head import builtin_head
from headforge.flame.uv import rasterize_uv
from tests.heads import tiny_head


@pytest.mark.parametrize("resolution", [16, 64])
def test_barycentrics_give_back_the_texel_centres(resolution: int) -> None:
    head = builtin_head()
    ids, weights = rasterize_uv(head, resolution)
    used = ids >= 0
    uv = (head.uvs[head.uv_faces[ids[used]]] * weights[used][..., None]).sum(-2)
    rows, columns = used.nonzero().T
    assert torch.allclose(uv[:, 0], (columns + 0.5) / resolution, atol=2e-4)
    assert torch.allclose(1 - uv[:, 1], (rows + 0.5) / resolution, atol=2e-4)
    assert torch.allclose(weights[used].sum(-1), torch.ones(int(used.sum())), atol=1e-5)
    assert (weights[~used] == 0).all()


def test_the_builtin_texture_is_well_used() -> None:
    ids, _ = rasterize_uv(builtin_head(), 64)
    assert (ids >= 0).float().mean() > 0.8
    assert ids.dtype == torch.int64


def test_two_triangles_cover_a_square_once() -> None:
    head = dataclasses.replace(
        tiny_head(),
        uvs=torch.tensor([[0.0, 0], [1, 0], [1, 1], [0, 1]]),
        uv_faces=torch.tensor([[0, 1, 2], [0, 2, 3]]),
    )
    ids, _ = rasterize_uv(head, 8)
    rows, columns = torch.meshgrid(torch.arange(8), torch.arange(8), indexing="ij")
    below_diagonal = rows + columns >= 7  # row 0 is the top (v = 1); ties go to the lower id
    assert torch.equal(ids, torch.where(below_diagonal, 0, 1))


def test_bad_resolution() -> None:
    with pytest.raises(ConfigError):
        rasterize_uv(tiny_head(), 0)
