"""Spherical-harmonic light against integration, textures, supersampling."""

from __future__ import annotations

import math

import pytest
import torch

from headforge.errors import ShapeError
from headforge.render.shading import downsample_2x2, sample_texture, sh_irradiance
from headforge.render.spherical_harmonics import MAX_DEGREE, eval_sh, sh_basis


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


def test_downsampling_is_the_mean_of_blocks() -> None:
    image = torch.arange(32.0).reshape(1, 4, 4, 2)
    small = downsample_2x2(image)
    assert small.shape == (1, 2, 2, 2)
    assert torch.equal(small[0, 0, 1], image[0, :2, 2:].mean(dim=(0, 1)))
    with pytest.raises(ShapeError):
        downsample_2x2(image[:, :3])
