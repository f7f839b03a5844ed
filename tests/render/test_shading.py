"""Spherical-harmonic light against integration, textures, supersampling."""

from __future__ import annotations

import math

import pytest
import torch

from headforge.errors import ShapeError
from headforge.geometry.cameras import orbit_camera
from headforge.render.mesh import rasterize
from headforge.render.shading import downsample_2x2, pixel_normals, sample_texture, sh_irradiance
from headforge.render.spherical_harmonics import MAX_DEGREE, eval_sh, sh_basis
from tests.heads import HALF_AXES_M, tiny_head


def sphere(n: int = 20_000) -> torch.Tensor:
    """n directions spread evenly over the sphere (Fibonacci)."""
    k = torch.arange(n, dtype=torch.float64) + 0.5
    y, around = 1 - 2 * k / n, math.pi * (1 + 5**0.5) * k
    radius = (1 - y * y).sqrt()
    return torch.stack([radius * around.cos(), y, radius * around.sin()], dim=-1)


def test_basis_is_orthonormal_over_the_sphere() -> None:
    basis = sh_basis(MAX_DEGREE, sphere())
    gram = 4 * math.pi * basis.T @ basis / len(basis)
    assert torch.allclose(gram, torch.eye(25, dtype=torch.float64), atol=1e-3)


def test_degree_one_has_the_signs_of_splatting_files() -> None:
    k = math.sqrt(3 / (4 * math.pi))
    assert torch.allclose(sh_basis(1, torch.eye(3))[:, 1:], torch.tensor([[0, 0, -k], [-k, 0, 0], [0, k, 0]]))


def test_irradiance_equals_the_integral_over_the_hemisphere() -> None:
    g = torch.Generator().manual_seed(0)
    coefficients = torch.randn(9, 3, generator=g, dtype=torch.float64)
    normals = torch.nn.functional.normalize(torch.randn(5, 3, generator=g, dtype=torch.float64), dim=-1)
    directions = sphere()
    radiance = eval_sh(2, directions, coefficients.expand(len(directions), 9, 3))
    cosine = (normals @ directions.T).clamp_min(0)
    expected = 4 * math.pi * cosine @ radiance / len(directions) / math.pi
    assert torch.allclose(sh_irradiance(normals, coefficients), expected, atol=2e-3)


def test_light_of_one_from_everywhere_is_one() -> None:
    coefficients = torch.zeros(9, 3)
    coefficients[0] = math.sqrt(4 * math.pi)
    assert torch.allclose(sh_irradiance(torch.eye(3), coefficients), torch.ones(3, 3))


def test_texture_corners_and_gradient() -> None:
    texture = torch.arange(4 * 8 * 2, dtype=torch.float64).reshape(4, 8, 2)
    # The centre of the texel in row 0 (the top, v near 1) and column 7.
    assert torch.equal(sample_texture(texture, torch.tensor([[7.5 / 8, 1 - 0.5 / 4]]))[0], texture[0, 7])
    assert torch.equal(sample_texture(texture, torch.tensor([[0.0, 0.0]]))[0], texture[3, 0])
    uv = torch.tensor([[0.31, 0.77], [0.52, 0.43]], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(sample_texture, (texture.requires_grad_(), uv))


def test_pixel_normals_of_an_ellipsoid_are_its_own() -> None:
    head = tiny_head(24, 48)
    vertices = head.v_template[None]
    view = orbit_camera(torch.tensor([20.0]), torch.tensor([10.0]), distance_m=1.0, focal_px=200.0, width=64, height=64)
    fragments = rasterize(vertices, head.faces, view)
    corners = vertices[0][head.faces[fragments.face_ids[fragments.mask]]]
    points = (corners * fragments.barycentrics[fragments.mask][..., None]).sum(-2)
    exact = torch.nn.functional.normalize(points / torch.tensor(HALF_AXES_M).square(), dim=-1)
    cosines = []
    for smooth in (True, False):
        normals = pixel_normals(fragments, vertices, head.faces, smooth=smooth)
        assert normals[~fragments.mask].abs().max() == 0
        found = normals[fragments.mask]
        assert torch.allclose(found.norm(dim=-1), torch.ones(len(found)), atol=1e-5)
        cosines.append((found * exact).sum(-1))
    # Flat triangles are off by up to half their size in angle, interpolated normals much less.
    assert cosines[1].min() > 0.95 and cosines[1].mean() > 0.995
    assert cosines[0].quantile(0.01) > 0.998 and (1 - cosines[0]).mean() < (1 - cosines[1]).mean() / 4


def test_supersampling_gives_the_covered_fraction() -> None:
    head = tiny_head()
    view = orbit_camera(torch.zeros(1), torch.zeros(1), distance_m=1.0, focal_px=90.0, width=32, height=32)
    fine = rasterize(head.v_template[None], head.faces, view.resized(64, 64)).mask.float()[..., None]
    finest = rasterize(head.v_template[None], head.faces, view.resized(512, 512)).mask.float()
    covered = torch.nn.functional.avg_pool2d(finest, 16)[..., None]
    plain = rasterize(head.v_template[None], head.faces, view).mask.float()[..., None]
    assert (downsample_2x2(fine) - covered).abs().mean() < 0.6 * (plain - covered).abs().mean()


def test_downsampling_is_the_mean_of_blocks() -> None:
    image = torch.arange(32.0).reshape(1, 4, 4, 2)
    small = downsample_2x2(image)
    assert small.shape == (1, 2, 2, 2)
    assert torch.equal(small[0, 0, 1], image[0, :2, 2:].mean(dim=(0, 1)))
    with pytest.raises(ShapeError):
        downsample_2x2(image[:, :3])
