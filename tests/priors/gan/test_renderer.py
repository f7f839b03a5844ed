"""Rays, samples and compositing against loops in numpy and against closed forms."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from headforge.geometry.cameras import look_at, pinhole_matrix
from headforge.priors.gan import renderer
from headforge.priors.gan.cameras import gan_camera
from headforge.priors.gan.renderer import (
    RaySettings,
    camera_rays,
    composite,
    draw_jitter,
    importance_depths,
    render_rays,
    stratified_depths,
)
from headforge.types import Camera

RAYS = RaySettings(near=2.25, far=3.3, n_coarse=48, n_fine=48, box_warp=1.0)


def _softplus(x: np.ndarray) -> np.ndarray:
    return np.log1p(np.exp(-np.abs(x))) + np.maximum(x, 0)


def _composite_loop(features: np.ndarray, densities: np.ndarray, depths: np.ndarray) -> tuple[np.ndarray, float, float]:
    """Max 1995's quadrature of one ray, interval by interval."""
    passed, color, depth, opacity = 1.0, np.zeros(features.shape[1]), 0.0, 0.0
    for i in range(len(depths) - 1):
        density = _softplus(np.array((densities[i] + densities[i + 1]) / 2 - 1))
        alpha = 1 - math.exp(-float(density) * (depths[i + 1] - depths[i]))
        weight = passed * alpha
        color += weight * (features[i] + features[i + 1]) / 2
        depth += weight * (depths[i] + depths[i + 1]) / 2
        opacity += weight
        passed *= 1 - alpha
    return color, depth / opacity, opacity


def _importance_loop(depths: np.ndarray, weights: np.ndarray, uniforms: np.ndarray) -> np.ndarray:
    """Inverse of the cumulated weights, each widened to its neighbours, for one ray."""
    padded = np.concatenate([[-np.inf], weights, [-np.inf]])
    wide = np.maximum(padded[:-1], padded[1:])
    likely = ((wide[:-1] + wide[1:]) / 2)[1:-1] + 0.01 + 1e-5
    cumulated = np.concatenate([[0], np.cumsum(likely / likely.sum())])
    middle = (depths[:-1] + depths[1:]) / 2
    return np.interp(uniforms, cumulated, middle[: len(cumulated)])


def _random_ray(n: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    return rng.normal(size=(n, 3)), 6 * rng.normal(size=n), np.sort(rng.uniform(2.25, 3.3, n))


def test_compositing_is_the_quadrature() -> None:
    features, densities, depths = _random_ray(20)
    found = composite(*(torch.tensor(x)[None] for x in (features, densities, depths)))
    for mine, theirs in zip(found, _composite_loop(features, densities, depths), strict=True):
        assert np.allclose(mine[0].numpy(), theirs, atol=1e-6)


def test_over_white_adds_what_passes() -> None:
    features, densities, depths = (torch.tensor(x)[None] for x in _random_ray(9))
    plain, _, opacity = composite(features, densities, depths)
    assert torch.allclose(composite(features, densities, depths, True)[0], plain + 1 - opacity[:, None])


def test_importance_samples_invert_the_cumulated_weights() -> None:
    rng = np.random.default_rng(1)
    depths = np.sort(rng.uniform(2, 3, (4, 12)))
    weights = rng.random((4, 11)) ** 4
    uniforms = rng.random((4, 7))
    found = importance_depths(*(torch.tensor(x) for x in (depths, weights, uniforms)))
    expected = [_importance_loop(*values) for values in zip(depths, weights, uniforms, strict=True)]
    assert np.allclose(found.numpy(), np.array(expected), atol=1e-9)


def test_importance_samples_crowd_where_the_weight_is() -> None:
    depths = torch.linspace(0, 1, 41)[None]
    weights = torch.zeros(1, 40)
    weights[0, 20] = 1.0
    found = importance_depths(depths, weights, torch.linspace(0, 0.999, 200)[None])
    assert float(((found > 0.45) & (found < 0.57)).float().mean()) > 0.7


def test_stratified_samples_stay_in_their_steps() -> None:
    uniforms = torch.rand(5, RAYS.n_coarse, generator=torch.Generator().manual_seed(0))
    depths = stratified_depths(uniforms, RAYS)
    step = (3.3 - 2.25) / 47
    expected = 2.25 + step * (torch.arange(48) + uniforms)
    assert torch.allclose(depths, expected, atol=1e-5)


def test_rays_go_through_pixel_centres() -> None:
    camera = gan_camera(30.0, -10.0, 6, radius=2.7)
    origin, directions, stretch = camera_rays(camera)
    points = origin + directions * (2.5 * stretch)[:, None]
    local = points @ camera.viewmat[:3, :3].T + camera.viewmat[:3, 3]
    pixels = local @ camera.K.T
    v, u = torch.meshgrid(torch.arange(6) + 0.5, torch.arange(6) + 0.5, indexing="ij")
    assert torch.allclose(local[:, 2], torch.full((36,), 2.5), atol=1e-5)
    assert torch.allclose(pixels[:, 0] / pixels[:, 2], u.flatten(), atol=1e-3)
    assert torch.allclose(pixels[:, 1] / pixels[:, 2], v.flatten(), atol=1e-3)
    assert torch.allclose(origin.norm(), torch.tensor(2.7))


def test_a_wall_has_its_z_depth_and_what_is_cropped_is_empty() -> None:
    size = 16
    viewmat = look_at(torch.tensor([0.0, 0.0, 2.7]), torch.zeros(3))
    camera = Camera(pinhole_matrix(1.5 * size, size, size), viewmat, size, size)
    origin, directions, stretch = camera_rays(camera)

    def wall(points: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return points, torch.where(points[:, 2] < 0.1, 5e3, -5e3)

    jitter = draw_jitter(0, 0, 0, size * size, RAYS)
    seen = render_rays(wall, origin, directions, jitter, RAYS)
    hit = (origin + directions * (2.6 * stretch)[:, None])[:, :2].abs()
    shown, hidden = hit[:, 0] < 0.38, hit[:, 0] > 0.42
    assert torch.allclose((seen.depth / stretch)[shown], torch.tensor(2.6), atol=0.03)
    assert torch.allclose(seen.opacity[shown], torch.tensor(1.0), atol=1e-4)
    assert bool((hidden & (hit[:, 0] < 0.5)).any())
    assert float(seen.opacity[hidden].max()) < 1e-6


def test_a_ray_that_meets_nothing_has_the_last_depth() -> None:
    origin, directions, _ = camera_rays(gan_camera(0.0, 0.0, 4, radius=2.7))
    jitter = draw_jitter(0, 0, 0, 16, RAYS)
    seen = render_rays(lambda p: (p, torch.full_like(p[:, 0], -1e4)), origin, directions, jitter, RAYS)
    assert torch.equal(seen.opacity, torch.zeros(16))
    assert torch.equal(seen.depth, stratified_depths(jitter.coarse, RAYS).max().expand(16))


def test_chunks_of_rays_make_no_difference(monkeypatch: pytest.MonkeyPatch) -> None:
    origin, directions, _ = camera_rays(gan_camera(20.0, 5.0, 8, radius=2.7))
    jitter = draw_jitter(0, 1, 2, 64, RAYS)

    def field(points: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return points, 20 * (0.3 - points.norm(dim=-1))

    whole = render_rays(field, origin, directions, jitter, RAYS)
    monkeypatch.setattr(renderer, "CHUNK", 7)
    parts = render_rays(field, origin, directions, jitter, RAYS)
    for name in ("features", "depth", "opacity"):
        assert torch.allclose(getattr(parts, name), getattr(whole, name), atol=1e-5)


def test_jitter_depends_on_seed_subject_and_view_only() -> None:
    first = draw_jitter(1, 2, 3, 10, RAYS)
    again = draw_jitter(1, 2, 3, 10, RAYS)
    assert torch.equal(first.coarse, again.coarse) and torch.equal(first.fine, again.fine)
    for other in ((0, 2, 3), (1, 0, 3), (1, 2, 0)):
        assert not torch.equal(first.coarse, draw_jitter(*other, 10, RAYS).coarse)
