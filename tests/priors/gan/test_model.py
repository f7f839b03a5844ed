"""Whole generators at a small size."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from headforge.errors import InputError, ShapeError
from headforge.priors.gan.cameras import frontal_label, gan_camera
from headforge.priors.gan.generator import DrawSettings, GanPeople
from headforge.priors.gan.model import HeadGan
from headforge.priors.gan.renderer import draw_jitter
from headforge.priors.gan.settings import KINDS, read_settings
from headforge.types import Camera
from tests.priors.gan.nets import RENDER_SIZE, small_facts, small_gan

LABEL = frontal_label(2.7, (0.0, 0.0, 0.0))
ANGLES_DEG = ((0.0, 0.0), (50.0, 20.0), (180.0, -10.0))


def _views(model: HeadGan, numbers: list[int]) -> dict[str, torch.Tensor]:
    z = torch.randn(1, 16, generator=torch.Generator().manual_seed(3))
    ws = model.styles(z, LABEL, 0.7, 14)
    camera = Camera.stack([gan_camera(*ANGLES_DEG[i], RENDER_SIZE, 2.7) for i in numbers])
    jitters = [draw_jitter(0, 0, i, RENDER_SIZE**2, model.settings.rays) for i in numbers]
    found = model.render(model.planes(ws), ws, camera, jitters, model.background(ws))
    return {name: getattr(found, name) for name in ("image", "raw", "ray_depth", "z_depth", "mask")}


@pytest.mark.parametrize("kind", KINDS)
def test_views_have_the_documented_shapes_and_depths(kind: str) -> None:
    found = _views(small_gan(kind), [0, 1])
    small = (RENDER_SIZE, RENDER_SIZE)
    assert {name: tuple(value.shape) for name, value in found.items()} == {
        "image": (2, 3, 128, 128), "raw": (2, 3, *small), "ray_depth": (2, 1, *small), "z_depth": (2, 1, *small),
        "mask": (2, 1, *small),
    }  # fmt: skip
    assert all(bool(torch.isfinite(value).all()) for value in found.values())
    assert 0.05 < float(found["mask"].mean()) < 0.999
    u = (torch.arange(RENDER_SIZE) + 0.5) / RENDER_SIZE - 0.5
    ratio = torch.sqrt(1 + (u[None] / 4.2647) ** 2 + (u[:, None] / 4.2647) ** 2)
    assert torch.allclose(found["ray_depth"] / found["z_depth"], ratio.expand(2, 1, *small), atol=1e-4)
    assert float((found["image"][0] - found["image"][1]).abs().mean()) > 0.01


@pytest.mark.parametrize("kind", KINDS)
def test_a_view_alone_is_the_view_among_others(kind: str) -> None:
    model = small_gan(kind)
    together, alone = _views(model, [0, 1, 2]), _views(model, [2])
    for name, value in alone.items():
        assert torch.allclose(together[name][2:], value, atol=2e-4), name


def test_planes_have_the_layout_of_each_kind() -> None:
    ws = torch.zeros(1, 6, 24)
    assert small_gan("spherehead").planes(ws).shape == (1, 2, 3, 32, 16, 16)
    assert small_gan("panohead").planes(ws).shape == (1, 3, 32, 3, 16, 16)


def test_truncation_pulls_towards_the_mean_up_to_the_cutoff() -> None:
    model = small_gan("spherehead")
    z = torch.randn(1, 16, generator=torch.Generator().manual_seed(0))
    free, pulled = model.styles(z, LABEL), model.styles(z, LABEL, psi=0.25, cutoff=2)
    mean = model.backbone.mapping.w_avg
    assert torch.allclose(pulled[:, :2], mean + 0.25 * (free[:, :2] - mean), atol=1e-5)
    assert torch.equal(pulled[:, 2:], free[:, 2:])


def test_the_label_matters_unless_conditioning_is_off() -> None:
    z = torch.ones(1, 16)
    conditioned, free = small_gan("panohead"), small_gan("panohead", c_gen_conditioning_zero=True)
    assert not torch.allclose(conditioned.styles(z, LABEL), conditioned.styles(z, 2 * LABEL[:, torch.randperm(25)]))
    assert torch.equal(free.styles(z, LABEL), free.styles(z, 0 * LABEL))


def test_background_shows_where_the_head_is_not() -> None:
    model = small_gan("panohead")
    ws = model.styles(torch.ones(1, 16), LABEL)
    camera = gan_camera(0.0, 0.0, RENDER_SIZE, 2.7)
    jitter = draw_jitter(0, 0, 0, RENDER_SIZE**2, model.settings.rays)
    planes, behind = model.planes(ws), model.background(ws)
    assert behind is not None
    one, other = (model.render(planes, ws, Camera.stack([camera]), [jitter], b) for b in (behind, behind + 1))
    assert torch.equal(one.mask, other.mask)
    change = (one.raw - other.raw).abs().amax(1, keepdim=True)
    assert float(change[one.mask < 0.9].min()) > 0


def test_parsing_shares_add_up() -> None:
    model = small_gan("spherehead")
    ws = model.styles(torch.ones(1, 16), LABEL)
    jitter = draw_jitter(0, 0, 0, RENDER_SIZE**2, model.settings.rays)
    camera = Camera.stack([gan_camera(0.0, 0.0, RENDER_SIZE, 2.7)])
    parsing = model.render(model.planes(ws), ws, camera, [jitter]).parsing
    assert parsing is not None and parsing.shape[1] == 20
    assert torch.allclose(parsing.sum(1), torch.ones(1, RENDER_SIZE, RENDER_SIZE), atol=1e-5)


def test_gradients_reach_the_latent_code() -> None:
    model = small_gan("spherehead")
    z = torch.ones(1, 16, requires_grad=True)
    ws = model.styles(z, LABEL)
    jitter = draw_jitter(0, 0, 0, RENDER_SIZE**2, model.settings.rays)
    camera = Camera.stack([gan_camera(0.0, 0.0, RENDER_SIZE, 2.7)])
    model.render(model.planes(ws), ws, camera, [jitter], model.background(ws)).image.square().mean().backward()
    assert z.grad is not None and float(z.grad.abs().max()) > 0


def test_one_jitter_per_camera_is_asked_for() -> None:
    model = small_gan("panohead")
    ws = torch.zeros(1, 6, 24)
    with pytest.raises(ShapeError):
        model.render(model.planes(ws), ws, Camera.stack([gan_camera(0.0, 0.0, RENDER_SIZE, 2.7)]), [])


def test_names_of_weights_are_the_official_ones() -> None:
    names = set(small_gan("spherehead").state_dict())
    layer = {"weight", "bias", "noise_const", "noise_strength", "resample_filter", "affine.weight", "affine.bias"}
    rgb = {"weight", "bias", "affine.weight", "affine.bias"}
    first = {f"conv1.{name}" for name in layer} | {f"torgb.{name}" for name in rgb} | {"const", "resample_filter"}
    later = {f"{part}.{name}" for part in ("conv0", "conv1") for name in layer} | (first - {"const"})
    dense = {f"{name}.{part}" for name in ("embed", "fc0", "fc1") for part in ("weight", "bias")} | {"w_avg"}
    expected = {f"backbone.synthesis.b4.{name}" for name in first} | {f"bcg_synthesis.b4.{name}" for name in first}
    expected |= {f"backbone.synthesis.b{size}.{name}" for size in (8, 16) for name in later}
    expected |= {f"bcg_synthesis.b{size}.{name}" for size in (8, 16, 32, 64) for name in later}
    expected |= {f"superresolution.block{i}.{name}" for i in (0, 1) for name in later}
    expected |= {f"{mapping}.{name}" for mapping in ("backbone.mapping", "t_mapping") for name in dense}
    expected |= {f"{part}.{name}" for part in ("torgb", "toparsing") for name in rgb}
    expected |= {f"Conv{c}.{i}.{name}" for c in "AB" for i in (0, 1) for name in ("weight", "resample_filter")}
    expected |= {f"decoder.net.{i}.{name}" for i in (0, 2) for name in ("weight", "bias")}
    assert names == expected | {"superresolution.resample_filter"}


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"superresolution_module": "training.other.Module"}, "superresolution_module"),
        ({"ray_start": "auto"}, "ray_start"),
        ({"clamp_mode": "relu"}, "clamp_mode"),
        ({"depth_resolution": None}, "depth_resolution"),
        ({"avg_camera_pivot": [0, 0]}, "avg_camera_pivot"),
    ],
)
def test_settings_that_are_not_supported_are_named(change: dict[str, object], named: str) -> None:
    with pytest.raises(InputError, match=named):
        read_settings("panohead", small_facts("panohead", **change), "file.pkl")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA card")
@pytest.mark.parametrize("kind", KINDS)
def test_a_card_shows_what_the_processor_does(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    model = small_gan(kind)
    people = GanPeople(model, DrawSettings(psi=1.0))
    angles_deg = dict(enumerate(ANGLES_DEG))
    here = [image for image, _, _ in people.draw(0, 0, angles_deg, 128)]
    for half, levels in ((False, 2), (True, 12)):
        there = GanPeople(model, DrawSettings(psi=1.0, batch=3, half=half), "cuda").draw(0, 0, angles_deg, 128)
        for mine, (other, _, _) in zip(here, there, strict=True):
            assert int(np.abs(mine.astype(int) - other.astype(int)).max()) <= levels
    model.to("cpu")
