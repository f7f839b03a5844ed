"""Networks of the priors compute where their weights are, and draw their random numbers on the CPU."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from headforge.priors import lpips
from headforge.priors.gan import cameras, convert, generator, layers, model, planes, renderer, stylegan, superresolution
from headforge.priors.gan.cameras import gan_camera
from headforge.priors.gan.generator import DrawSettings, GanPeople
from headforge.priors.gan.renderer import Jitter, RaySettings, Seen
from headforge.priors.stable_diffusion import animatediff, diffusers_modules, stable_diffusion
from headforge.priors.stable_diffusion.diffusers_modules import MOTION, UNET, VAE, build_module
from headforge.types import Camera
from tests.devices import Call, check_complete, check_on_cpu, check_on_meta, moved, parametrized, tensors_in
from tests.priors.gan.nets import RENDER_SIZE, small_facts, small_gan

N_RAYS = RENDER_SIZE**2
RAYS = RaySettings(2.25, 3.3, 10, 6, 1.0)
SHAPE = superresolution.SHAPES["SuperresolutionHybrid2X"]


def rows(*shape: int) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(0))


def rays() -> tuple[Tensor, Tensor]:
    origin, directions, _ = renderer.camera_rays(gan_camera(10.0, 5.0, RENDER_SIZE, 2.7))
    return origin, directions


def jitter(view: int = 0) -> Jitter:
    return renderer.draw_jitter(0, 0, view, N_RAYS, RAYS)


def views(kind: str) -> tuple[object, ...]:
    """Arguments of a generator's `render`."""
    gan = small_gan(kind)
    ws = gan.styles(rows(1, 16), cameras.frontal_label(2.7, (0.0, 0.0, 0.0)), 0.7, 14)
    camera = Camera.stack([gan_camera(yaw, 0.0, RENDER_SIZE, 2.7) for yaw in (0.0, 40.0)])
    jitters = [renderer.draw_jitter(0, 0, view, N_RAYS, gan.settings.rays) for view in range(2)]
    return gan, gan.planes(ws), ws, camera, jitters, gan.background(ws)


def gan_and_planes(kind: str) -> tuple[nn.Module, Tensor]:
    gan, found, *_ = views(kind)
    assert isinstance(gan, nn.Module) and isinstance(found, Tensor)
    return gan, found


def look(points: Tensor) -> tuple[Tensor, Tensor]:
    return points, points.sum(-1)


def synthesis() -> stylegan.SynthesisSettings:
    return stylegan.SynthesisSettings(24, 16, 3, 256, 16)


def small_lpips() -> lpips.Lpips:
    return lpips.Lpips("alex").eval().requires_grad_(False)


def metric() -> lpips.LpipsMetric:
    return lpips.LpipsMetric("lpips_alex", "headforge", "", small_lpips())


GAN_CALLS = [
    Call(cameras.gan_camera, lambda: (10.0, 5.0, 16, 2.7), reason="from numbers, on the CPU"),
    Call(cameras.frontal_label, lambda: (2.7, (0.0, 0.0, 0.0)), reason="from numbers, on the CPU"),
    Call(cameras.in_metres, lambda: (gan_camera(0.0, 0.0, 16, 2.7),)),
    Call(layers.FullyConnected.forward, lambda: (layers.FullyConnected(4, 5, is_linear=False), rows(2, 4))),
    Call(layers.PointConvolution.forward, lambda: (layers.PointConvolution(4, 5), rows(2, 4, 3, 3))),
    Call(layers.modulated_conv, lambda: (rows(1, 4, 8, 8), rows(5, 4, 3, 3), rows(1, 4), True, True)),
    Call(layers.modulated_conv, lambda: (rows(2, 4, 8, 8).half(), rows(5, 4, 3, 3), rows(2, 4))),
    Call(layers.convolve, lambda: (rows(2, 4, 8, 8), rows(5, 4, 3, 3), True)),
    Call(layers.smooth, lambda: (rows(2, 4, 9, 9),)),
    Call(layers.activate, lambda: (rows(2, 4, 8, 8), rows(4), 256.0)),
    Call(layers.upsample, lambda: (rows(2, 4, 8, 8),)),
    Call(planes.first_frame, lambda: (rows(2, 7, 3),)),
    Call(planes.second_frame, lambda: (rows(2, 7, 3),)),
    Call(planes.sphere_coordinates, lambda: (rows(2, 7, 3),)),
    Call(planes.seam_weights, lambda: (rows(2, 7, 3),)),
    Call(planes.sample_spheres, lambda: (rows(2, 2, 3, 4, 8, 8), rows(2, 7, 3), 1.0)),
    Call(planes.sample_grids, lambda: (rows(2, 3, 4, 3, 8, 8), rows(2, 7, 3), 1.0)),
    Call(renderer.draw_jitter, lambda: (0, 0, 0, 5, RAYS), reason="random numbers are drawn on the CPU"),
    Call(Jitter.to, lambda: (jitter(), "cpu"), reason="moves"),
    Call(renderer.camera_rays, lambda: (gan_camera(10.0, 5.0, 8, 2.7),)),
    Call(renderer.render_rays, lambda: (look, *rays(), jitter(), RAYS)),
    Call(renderer.stratified_depths, lambda: (jitter().coarse, RAYS)),
    Call(renderer.mid_weights, lambda: (rows(5, 6), rows(5, 6).cumsum(-1))),
    Call(renderer.composite, lambda: (rows(5, 6, 3), rows(5, 6), rows(5, 6).cumsum(-1), True)),
    Call(renderer.importance_depths, lambda: (rows(5, 6).cumsum(-1), rows(5, 5), rows(5, 4))),
    Call(stylegan.Mapping.forward, lambda: (stylegan.Mapping(16, 25, 24, 5, 2), rows(2, 16), rows(2, 25), 0.7, 3)),
    Call(stylegan.SynthesisLayer.forward,
         lambda: (stylegan.SynthesisLayer(4, 5, 24, 8), rows(2, 4, 8, 8), rows(2, 24), True)),
    Call(stylegan.ToRgb.forward, lambda: (stylegan.ToRgb(4, 3, 24), rows(2, 4, 8, 8), rows(2, 24))),
    Call(stylegan.SynthesisBlock.forward,
         lambda: (stylegan.SynthesisBlock(0, 5, 24, 4, 3), None, None, rows(2, 2, 24), True)),
    Call(stylegan.Synthesis.forward, lambda: (stylegan.Synthesis(synthesis()), rows(2, 6, 24))),
    Call(superresolution.Superresolution.forward,
         lambda: (superresolution.Superresolution(SHAPE, 32, 24, True, True),
                  rows(2, 3, 12, 12), rows(2, 32, 12, 12), rows(2, 6, 24), False)),
    Call(model.Decoder.forward, lambda: (model.Decoder(1.0, "lrelu"), rows(7, 32))),
    Call(model.HeadGan.styles, lambda: (small_gan("panohead"), rows(1, 16), rows(1, 25), 0.7, 14)),
    Call(model.HeadGan.planes, lambda: (small_gan("spherehead"), rows(1, 6, 24))),
    Call(model.HeadGan.planes, lambda: (small_gan("panohead"), rows(1, 6, 24))),
    Call(model.HeadGan.background, lambda: (small_gan("panohead"), rows(1, 6, 24))),
    Call(model.HeadGan.render, lambda: views("spherehead")),
    Call(model.HeadGan.render, lambda: views("panohead")),
    Call(model.HeadGan.trace,
         lambda: (*gan_and_planes("spherehead"), *rays(), views("spherehead")[4][0])),  # type: ignore[index]
    Call(generator.quantised, lambda: (rows(3, 16, 16), rows(1, 8, 8), 16), reason="gives arrays"),
    Call(convert.load_gan, lambda: (dict(small_gan("panohead").state_dict()), small_facts("panohead")),
         reason="checks the weights' values"),
    Call(convert.check_weights, lambda: (dict(small_gan("panohead").state_dict()), small_facts("panohead"), "a"),
         reason="checks the weights' values"),
]  # fmt: skip
LPIPS_CALLS = [
    Call(lpips.Lpips.forward, lambda: (small_lpips(), rows(2, 3, 64, 64), rows(2, 3, 64, 64))),
    Call(lpips.LpipsMetric.__call__, lambda: (metric(), rows(2, 3, 64, 64), rows(2, 3, 64, 64))),
]
CALLS = GAN_CALLS + LPIPS_CALLS
GAN_OTHERS = {
    "priors.gan.layers.smoothing_filter": "a buffer of new modules, on torch's default device as their parameters",
    "priors.gan.convert.convert_gan": "reads a file to the CPU",
}
LPIPS_OTHERS = {
    "priors.lpips.load_lpips": "test_loaders_move_all_they_load",
    "priors.lpips.trunk_shapes": "numbers only",
    "priors.lpips.linear_shapes": "numbers only",
}
SD_OTHERS = {
    "priors.stable_diffusion.diffusers_modules.build_module": "test_modules_built_on_meta_stay_there",
    "priors.stable_diffusion.diffusers_modules.state_shapes": "builds on meta",
    "priors.stable_diffusion.diffusers_modules.load_module": "test_loaders_move_all_they_load",
    "priors.stable_diffusion.diffusers_modules.ddim_scheduler": "settings only",
    "priors.stable_diffusion.stable_diffusion.load_stable_diffusion": "`load_module` three times",
    "priors.stable_diffusion.stable_diffusion.load_vae": "`load_module`",
    "priors.stable_diffusion.stable_diffusion.unet_from_ldm": "renames what a file holds",
    "priors.stable_diffusion.stable_diffusion.vae_from_ldm": "renames what a file holds",
    "priors.stable_diffusion.stable_diffusion.json_class": "no tensors",
    "priors.stable_diffusion.animatediff.load_motion_adapter": "`load_module`",
    "priors.stable_diffusion.animatediff.from_checkpoint": "renames what a file holds",
}
runs_on_meta, all_calls = parametrized(CALLS)


@pytest.fixture(autouse=True)
def without_gradients() -> Iterable[None]:
    with torch.no_grad():
        yield


@runs_on_meta
def test_on_meta(call: Call) -> None:
    check_on_meta(call)


@all_calls
def test_on_the_cpu_whatever_the_default_device_is(call: Call) -> None:
    check_on_cpu(call)


def test_no_entry_point_of_the_generators_is_left_out() -> None:
    modules = (cameras, convert, generator, layers, model, planes, renderer, stylegan, superresolution)
    calls = [call for call in GAN_CALLS if call.function is not Jitter.to]
    check_complete(calls, GAN_OTHERS, modules)


def test_no_entry_point_of_the_others_is_left_out() -> None:
    check_complete(LPIPS_CALLS[:1], LPIPS_OTHERS, (lpips,))
    check_complete([], SD_OTHERS, (diffusers_modules, stable_diffusion, animatediff))


def test_pictures_are_drawn_whatever_the_default_device_is() -> None:
    people = GanPeople(small_gan("spherehead"), DrawSettings())
    with torch.device("meta"):
        found = list(people.draw(0, 0, {0: (10.0, 5.0), 3: (-30.0, 0.0)}, 16))
    assert [image.shape for image, _, _ in found] == [(16, 16, 3)] * 2
    assert all(tensor.is_cpu for _, _, camera in found for tensor in tensors_in(camera))


def test_a_ray_that_meets_nothing_has_the_last_depth() -> None:
    def nothing(points: Tensor) -> tuple[Tensor, Tensor]:
        return points, torch.full_like(points[:, 0], -torch.inf)

    seen: Seen = renderer.render_rays(nothing, *rays(), jitter(), RAYS)
    assert bool((seen.opacity == 0).all())
    assert bool((seen.depth == seen.depth[0]).all()) and float(seen.depth[0]) > RAYS.far


UNET_CONFIG = {
    "sample_size": 8, "in_channels": 4, "out_channels": 4, "block_out_channels": [16, 16], "layers_per_block": 1,
    "norm_num_groups": 8, "cross_attention_dim": 8, "attention_head_dim": 2,
    "down_block_types": ["CrossAttnDownBlock2D", "DownBlock2D"], "up_block_types": ["UpBlock2D", "CrossAttnUpBlock2D"],
}  # fmt: skip
VAE_CONFIG = {
    "sample_size": 16, "block_out_channels": [16, 16], "latent_channels": 4, "layers_per_block": 1,
    "norm_num_groups": 8, "down_block_types": ["DownEncoderBlock2D"] * 2, "up_block_types": ["UpDecoderBlock2D"] * 2,
}  # fmt: skip
MOTION_CONFIG = {
    "block_out_channels": [16, 16], "motion_layers_per_block": 1, "motion_num_attention_heads": 2,
    "motion_norm_num_groups": 8, "motion_max_seq_length": 8, "use_motion_mid_block": False,
}  # fmt: skip
CONFIGS = {UNET: UNET_CONFIG, VAE: VAE_CONFIG, MOTION: MOTION_CONFIG}


@pytest.mark.parametrize("class_name", CONFIGS)
def test_modules_built_on_meta_stay_there(class_name: str) -> None:
    with torch.device("meta"):
        module = build_module(class_name, CONFIGS[class_name], Path("config.json"))
    assert all(tensor.is_meta for tensor in tensors_in(module))


@pytest.mark.parametrize("class_name", CONFIGS)
def test_loaders_move_all_they_load(class_name: str, tmp_path: Path) -> None:
    made = build_module(class_name, CONFIGS[class_name], Path("config.json"))
    save_file(
        {name: t.contiguous() for name, t in made.state_dict().items()}, tmp_path / diffusers_modules.WEIGHTS_FILE
    )
    (tmp_path / diffusers_modules.CONFIG_FILE).write_text(json.dumps(CONFIGS[class_name]))
    for device in ("cpu", "meta"):
        module = diffusers_modules.load_module(class_name, tmp_path, device)
        assert {tensor.device.type for tensor in tensors_in(module)} == {device}


def test_the_unet_and_the_autoencoder_run_on_meta() -> None:
    meta = torch.device("meta")
    unet, vae = (moved(build_module(name, CONFIGS[name], Path("config.json")), meta) for name in (UNET, VAE))
    step = torch.zeros(2, dtype=torch.int64, device=meta)
    found = unet(torch.zeros(2, 4, 8, 8, device=meta), step, torch.zeros(2, 3, 8, device=meta)).sample
    assert found.is_meta and found.shape == (2, 4, 8, 8)
    assert vae.decode(torch.zeros(2, 4, 8, 8, device=meta)).sample.is_meta
    assert vae.encode(torch.zeros(2, 3, 16, 16, device=meta)).latent_dist.mean.is_meta
