"""The call: shapes, modes, errors, and the twin against hand-made answers and finite differences."""

from __future__ import annotations

import logging
from dataclasses import replace

import pytest
import torch

from headforge.errors import ConfigError, NotFiniteError, ShapeError
from headforge.render.projection import EPS2D_PX2
from headforge.render.spherical_harmonics import splat_colors
from headforge.render.splatting import splat as splat_module
from headforge.render.splatting.splat import Backend, splat
from tests.render.scenes import Inputs, draw, random_inputs

BACKENDS: tuple[Backend, ...] = ("torch", "cpu")


def one_gaussian(
    backend: Backend, opacity: float = 0.8, scale: float = 0.05, size: int = 33
) -> splat_module.SplatResult:
    K = torch.tensor([[[50.0, 0, size / 2], [0, 50.0, size / 2], [0, 0, 1]]])
    return splat(
        torch.tensor([[0.0, 0.0, 1.0]]), None, torch.tensor([scale]), torch.tensor([opacity]),
        torch.tensor([[1.0, 0.5, 0.25]]), torch.eye(4)[None], K, size, size, backend=backend,
    )  # fmt: skip


@pytest.mark.parametrize("backend", BACKENDS)
def test_one_gaussian_is_the_analytic_bell(backend: Backend) -> None:
    result = one_gaussian(backend)
    centre = torch.arange(33) + 0.5 - 16.5
    squared = centre[:, None] ** 2 + centre**2
    variance = (50 * 0.05) ** 2 + EPS2D_PX2
    expected = 0.8 * torch.exp(-squared / (2 * variance))
    expected = torch.where(expected >= 1 / 255, expected, 0)
    assert torch.allclose(result.alpha[0, ..., 0], expected, atol=1e-6)
    assert torch.allclose(result.image[0, ..., 1], expected / 2, atol=1e-6)


@pytest.mark.parametrize("backend", BACKENDS)
def test_nearer_gaussian_covers_the_farther(backend: Backend) -> None:
    K = torch.tensor([[[50.0, 0, 8], [0, 50.0, 8], [0, 0, 1]]])
    means = torch.tensor([[0.0, 0.0, 2.0], [0.0, 0.0, 1.0]])
    colors = torch.tensor([[1.0], [0.0]])
    result = splat(means, None, torch.tensor([0.5, 0.5]), torch.tensor([0.9, 0.6]), colors, torch.eye(4)[None], K, 16,
                   16, render_mode="RGB+D", backend=backend)  # fmt: skip
    assert result.image[0, 8, 8, 0].item() == pytest.approx(0.4 * 0.9, abs=5e-3)
    assert result.image[0, 8, 8, 1].item() == pytest.approx(0.6 + 0.4 * 0.9 * 2, abs=5e-3)


@pytest.mark.parametrize("backend", BACKENDS)
def test_expected_depth_of_a_wall_is_its_depth(backend: Backend) -> None:
    inputs = random_inputs(3)
    flat = replace(inputs, means=inputs.means * torch.tensor([1.0, 1, 0]), viewmats=torch.eye(4)[None].clone())
    flat.viewmats[0, 2, 3] = 1.5
    for mode, channels in (("ED", 1), ("RGB+ED", 4), ("D", 1), ("RGB+D", 4), ("RGB", 3)):
        result = draw(flat, backend, render_mode=mode)
        assert result.image.shape == (1, 40, 40, channels)
        if "ED" in mode:
            seen = result.alpha[..., 0] > 0
            assert torch.allclose(result.image[..., -1][seen], torch.tensor(1.5), atol=1e-5)


@pytest.mark.parametrize("backend", BACKENDS)
def test_batches_equal_single_calls(backend: Backend) -> None:
    a, b = random_inputs(1, n_cameras=2), random_inputs(2, n_cameras=2)
    batched = splat(
        torch.stack([a.means, b.means]), a.quats, a.scales, a.opacities, a.colors,
        torch.stack([a.viewmats, b.viewmats]), torch.stack([a.Ks, b.Ks]), 24, 20, backend=backend,
    )  # fmt: skip
    assert batched.image.shape == (2, 2, 20, 24, 3)
    for k, means in enumerate((a.means, b.means)):
        for m in range(2):
            single = splat(means, a.quats, a.scales, a.opacities, a.colors, a.viewmats[m : m + 1], a.Ks[m : m + 1], 24,
                           20, backend=backend)  # fmt: skip
            assert torch.equal(single.image[0], batched.image[k, m])


@pytest.mark.parametrize("backend", BACKENDS)
def test_colors_per_camera(backend: Backend) -> None:
    inputs = random_inputs(4, n_cameras=2)
    per_camera = torch.stack([inputs.colors, 1 - inputs.colors])
    both = draw(replace(inputs, colors=per_camera), backend)
    shared = draw(inputs, backend)
    assert torch.equal(both.image[0], shared.image[0])
    assert not torch.allclose(both.image[1], shared.image[1], atol=0.05)


def test_harmonics_are_seen_from_each_camera() -> None:
    inputs = random_inputs(5, n_cameras=2)
    coefficients = torch.randn(60, 9, 3, generator=torch.Generator().manual_seed(0))
    colors = splat_colors(2, inputs.means, inputs.viewmats, coefficients)
    assert colors.shape == (2, 60, 3)
    by_degree = draw(replace(inputs, colors=coefficients), "cpu", sh_degree=2)
    assert torch.equal(by_degree.image, draw(replace(inputs, colors=colors), "cpu").image)


@pytest.mark.parametrize("options", [{}, {"rasterize_mode": "antialiased", "render_mode": "RGB+ED"}])
def test_twin_passes_gradcheck(options: dict[str, str]) -> None:
    # Opacities of 0.3 or more and few, wide Gaussians keep every pixel away from the thresholds.
    inputs = random_inputs(8, n=5, size=6)
    inputs = replace(
        inputs, scales=inputs.scales * 0 + 0.15 + 0.05 * inputs.scales, opacities=inputs.opacities * 0.3 + 0.3
    )
    leaves = inputs.to(torch.float64)

    def picture(*tensors: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        means, quats, scales, opacities, colors, viewmats, backgrounds = tensors
        scene = Inputs(means, quats, scales, opacities, colors, viewmats, leaves.Ks, backgrounds)
        result = draw(scene, "torch", 6, 6, **options)
        return result.image, result.alpha

    assert torch.autograd.gradcheck(picture, leaves.tensors(), eps=1e-6, atol=1e-5)


@pytest.mark.parametrize("backend", BACKENDS)
def test_nothing_to_see(backend: Backend) -> None:
    inputs = random_inputs(6)
    empty = replace(inputs, means=inputs.means[:0], quats=inputs.quats[:0], scales=inputs.scales[:0],
                    opacities=inputs.opacities[:0], colors=inputs.colors[:0])  # fmt: skip
    behind = replace(inputs, means=inputs.means + inputs.viewmats[0, 2, :3] * -5)
    faint = replace(inputs, opacities=inputs.opacities * 1e-3)
    for scene in (empty, behind, faint):
        leaves = scene.to(torch.float32)
        result = draw(leaves, backend)
        assert torch.equal(result.image, leaves.backgrounds[:, None, None].expand_as(result.image))
        assert result.alpha.abs().max() == 0
        (result.image.sum() + result.alpha.sum()).backward()
        assert leaves.backgrounds.grad is not None and torch.all(leaves.backgrounds.grad == 1600)
        assert leaves.means.grad is not None and torch.all(leaves.means.grad == 0)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("size", [(0, 5), (5, 0), (1, 1), (17, 3)])
def test_odd_sizes(backend: Backend, size: tuple[int, int]) -> None:
    leaves = random_inputs(6).to(torch.float32)
    result = draw(leaves, backend, *size)
    assert result.image.shape == (1, size[1], size[0], 3)


@pytest.mark.parametrize("backend", BACKENDS)
def test_zero_scales_draw_a_dot_with_finite_gradients(backend: Backend) -> None:
    inputs = random_inputs(6)
    leaves = replace(inputs, scales=torch.zeros_like(inputs.scales)).to(torch.float32)
    for mode in ("classic", "antialiased"):
        result = draw(leaves, backend, rasterize_mode=mode)
        grads = torch.autograd.grad(result.image.sum(), leaves.tensors()[:5], allow_unused=True)
        assert all(g is None or bool(torch.isfinite(g).all()) for g in grads)
        assert (result.alpha.max() > 0.1) == (mode == "classic")


@pytest.mark.parametrize("name", ["means", "quats", "scales", "opacities", "colors", "viewmats", "backgrounds"])
def test_nan_names_the_tensor(name: str) -> None:
    inputs = random_inputs(7)
    broken = getattr(inputs, name).clone()
    broken.view(-1)[1] = float("nan")
    with pytest.raises(NotFiniteError) as caught:
        draw(replace(inputs, **{name: broken}), "cpu")
    assert (caught.value.name, caught.value.n_bad) == (name, 1)


WRONG_SHAPES = [("means", (60, 2)), ("opacities", (59,)), ("colors", (7, 3)), ("scales", (60, 2)),
                ("backgrounds", (1, 4)), ("quats", (60, 3))]  # fmt: skip


@pytest.mark.parametrize(("name", "shape"), WRONG_SHAPES)
def test_wrong_shapes_are_named(name: str, shape: tuple[int, ...]) -> None:
    with pytest.raises(ShapeError) as caught:
        draw(replace(random_inputs(7), **{name: torch.zeros(shape)}), "auto")
    assert caught.value.found == shape


def test_impossible_backends_say_why() -> None:
    inputs = random_inputs(7)
    with pytest.raises(ConfigError, match="needs cuda tensors, got cpu") as caught:
        draw(inputs, "gsplat")
    assert "pip install 'headforge[gpu]'" in caught.value.help
    with pytest.raises(ConfigError, match="float32"):
        draw(inputs.to(torch.float64), "cpu")
    with pytest.raises(ConfigError, match="nonsense"):
        draw(inputs, "nonsense")  # type: ignore[arg-type]


def test_auto_says_once_what_it_picked(caplog: pytest.LogCaptureFixture) -> None:
    splat_module._log_choice.cache_clear()
    with caplog.at_level(logging.INFO, logger="headforge"):
        draw(random_inputs(7), "auto")
        draw(random_inputs(7), "auto")
    assert len(caplog.records) == 1 and "'cpu'" in caplog.text


def test_the_others_have_no_notes_for_densification() -> None:
    assert draw(random_inputs(7), "cpu").info == {} == draw(random_inputs(7), "torch").info
