"""Small files in the official layouts, converted, against diffusers' own converters and modules."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from headforge.errors import DataError, InputError
from headforge.pickles import ForbiddenNameError
from headforge.priors.assets import add_asset
from headforge.priors.kinds import KINDS
from headforge.priors.stable_diffusion.animatediff import load_motion_adapter
from headforge.priors.stable_diffusion.stable_diffusion import load_stable_diffusion, load_vae
from headforge.store.objects.store import Store
from tests.priors.diffusion_files import (
    CONTEXT,
    MOTION_CONFIG,
    SCHEDULER_CONFIG,
    UNET_CONFIG,
    VAE_CONFIG,
    filled,
    ldm_vae,
    motion_tensors,
    single_tensors,
    write_json,
    write_single,
)

diffusers = pytest.importorskip("diffusers")
single_file_utils = pytest.importorskip("diffusers.loaders.single_file_utils")


def inputs() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(5)
    return (
        torch.randn(1, 4, 16, 16, generator=generator),
        torch.tensor([400]),
        torch.randn(1, 3, CONTEXT, generator=generator),
    )


@torch.no_grad()
def unet_value(unet: torch.nn.Module) -> torch.Tensor:
    return unet(inputs()[0], inputs()[1], encoder_hidden_states=inputs()[2]).sample


@torch.no_grad()
def vae_value(vae: torch.nn.Module) -> torch.Tensor:
    picture = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(6))
    return vae.decode(vae.encode(picture).latent_dist.mode()).sample  # type: ignore[operator]


def reference(cls: type, config: dict, tensors: dict[str, torch.Tensor]) -> torch.nn.Module:
    module = cls(**{name: value for name, value in config.items() if not name.startswith("_")})
    module.load_state_dict(tensors)
    return module.eval()


def reference_unet() -> torch.nn.Module:
    converted = single_file_utils.convert_ldm_unet_checkpoint(single_tensors(), UNET_CONFIG)
    return reference(diffusers.UNet2DConditionModel, UNET_CONFIG, converted)


def reference_vae() -> torch.nn.Module:
    converted = single_file_utils.convert_ldm_vae_checkpoint(single_tensors(), VAE_CONFIG)
    return reference(diffusers.AutoencoderKL, VAE_CONFIG, converted)


def write_folder(folder: Path, unet: torch.nn.Module, vae: torch.nn.Module) -> Path:
    """As published: weights of the U-Net as .bin, those of the auto-encoder under their old names."""
    write_json(folder / "model_index.json", {"_class_name": "StableDiffusionPipeline"})
    write_json(folder / "scheduler/scheduler_config.json", SCHEDULER_CONFIG)
    write_json(folder / "unet/config.json", UNET_CONFIG)
    torch.save(unet.state_dict(), folder / "unet/diffusion_pytorch_model.bin")
    write_json(folder / "vae/config.json", VAE_CONFIG)
    old = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
    tensors = {}
    for name, tensor in vae.state_dict().items():
        for new, before in old.items():
            name = name.replace(f"attentions.0.{new}", f"attentions.0.{before}")
        tensors[name] = tensor.contiguous()
    save_file(tensors, folder / "vae/diffusion_pytorch_model.safetensors")
    return folder


@pytest.mark.parametrize("name", ["v1-5-pruned-emaonly.safetensors", "v1-5-pruned-emaonly.ckpt"])
def test_single_file_gives_what_diffusers_converter_gives(tmp_path: Path, name: str) -> None:
    asset = add_asset(Store(tmp_path / "store"), KINDS["sd15"], [write_single(tmp_path / name)])
    found = load_stable_diffusion(asset)
    assert torch.equal(unet_value(found.unet), unet_value(reference_unet()))
    assert torch.equal(vae_value(found.vae), vae_value(reference_vae()))
    assert vae_value(found.vae).std() > 0.01
    assert asset.facts["layout"] == "single file" and asset.facts["cross_attention_dim"] == CONTEXT
    betas = torch.linspace(0.00085**0.5, 0.012**0.5, 1000) ** 2
    torch.testing.assert_close(found.scheduler.alphas_cumprod, torch.cumprod(1 - betas, 0))
    assert list(load_file(asset.folder / "text_encoder/model.safetensors")) == ["text_model.final_layer_norm.weight"]


def test_diffusers_folder_gives_the_modules_that_were_saved(tmp_path: Path) -> None:
    unet, vae = reference_unet(), reference_vae()
    asset = add_asset(Store(tmp_path / "store"), KINDS["sd15"], [write_folder(tmp_path / "sd", unet, vae)])
    found = load_stable_diffusion(asset)
    assert torch.equal(unet_value(found.unet), unet_value(unet))
    assert torch.equal(vae_value(found.vae), vae_value(vae))
    assert asset.facts["layout"] == "folder" and asset.licences == ("openrail-m",)


@pytest.mark.parametrize("layout", ["folder", "bare", "prefixed"])
def test_auto_encoder_of_its_own(tmp_path: Path, layout: str) -> None:
    path = tmp_path / "vae-ft-mse-840000-ema-pruned.ckpt"
    if layout == "folder":
        path = write_folder(tmp_path / "sd", reference_unet(), reference_vae()) / "vae"
    else:
        prefix = "first_stage_model." if layout == "prefixed" else ""
        tensors = filled(ldm_vae(prefix), 2)
        torch.save({"state_dict": tensors | {"loss.logvar": torch.zeros(())}}, path)
    asset = add_asset(Store(tmp_path / "store"), KINDS["vae"], [path])
    assert torch.equal(vae_value(load_vae(asset)), vae_value(reference_vae()))


@pytest.mark.parametrize("has_middle", [True, False])
def test_motion_modules_of_both_versions(tmp_path: Path, *, has_middle: bool) -> None:
    tensors = motion_tensors(has_middle=has_middle, length=24)
    torch.save({f"module.{name}": tensor for name, tensor in tensors.items()}, tmp_path / "mm.ckpt")
    asset = add_asset(Store(tmp_path / "store"), KINDS["animatediff"], [tmp_path / "mm.ckpt"])
    found = load_motion_adapter(asset)
    wanted = single_file_utils.convert_animatediff_checkpoint_to_diffusers(tensors)
    state = found.state_dict()
    for name, tensor in wanted.items():
        assert torch.equal(state[name], tensor)
    assert {name for name in state if "pos_embed" not in name} == set(wanted)
    assert asset.facts["motion_max_seq_length"] == 24 and asset.facts["use_motion_mid_block"] is has_middle
    unet = diffusers.UNetMotionModel.from_unet2d(reference_unet(), found).eval()
    latents = torch.randn(1, 4, 3, 16, 16, generator=torch.Generator().manual_seed(5))
    with torch.no_grad():
        film = unet(latents, 400, encoder_hidden_states=inputs()[2].repeat(3, 1, 1)).sample
    assert film.shape == (1, 4, 3, 16, 16) and torch.isfinite(film).all()


def test_motion_adapter_folder_with_and_without_its_sinusoids(tmp_path: Path) -> None:
    wanted = diffusers.MotionAdapter(**{k: v for k, v in MOTION_CONFIG.items() if not k.startswith("_")})
    for has_codes in (True, False):
        folder = tmp_path / str(has_codes)
        write_json(folder / "config.json", MOTION_CONFIG)
        tensors = {k: v.contiguous() for k, v in wanted.state_dict().items() if has_codes or "pos_embed" not in k}
        save_file(tensors, folder / "diffusion_pytorch_model.safetensors")
        found = load_motion_adapter(add_asset(Store(tmp_path / "store"), KINDS["animatediff"], [folder]))
        for name, tensor in wanted.state_dict().items():
            assert torch.equal(found.state_dict()[name], tensor), name


def spoilt(how: str) -> dict[str, torch.Tensor]:
    tensors = single_tensors()
    key = "model.diffusion_model.input_blocks.4.1.transformer_blocks.0.attn1.to_q.weight"
    changes = {
        "missing": {key: None},
        "shape": {key: torch.zeros(8, 8)},
        "xl": {"conditioner.embedders.0.transformer.text_model.x": torch.zeros(1)},
        "sd2": {"cond_stage_model.model.transformer.resblocks.0.ln_1.weight": torch.zeros(1)},
        "unknown": {"model.diffusion_model.label_emb.0.0.weight": torch.zeros(2, 2)},
        "inpainting": {"model.diffusion_model.input_blocks.0.0.weight": torch.zeros(32, 9, 3, 3)},
        "only vae": {name: None for name in tensors if name.startswith("model.diffusion_model")},
    }
    changed = {**tensors, **changes[how]}
    return {name: tensor for name, tensor in changed.items() if tensor is not None}


@pytest.mark.parametrize(
    "how, said",
    [
        ("missing", "down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_q.weight"),
        ("shape", "has the shape [8, 8], expected [32, 32]"),
        ("xl", "Stable Diffusion XL"),
        ("sd2", "Stable Diffusion 2"),
        ("unknown", "label_emb.0.0.weight"),
        ("inpainting", "conv_in.weight has the shape [32, 9, 3, 3], expected [32, 4, 3, 3]"),
        ("only vae", "has no tensor input_blocks.1.0.out_layers.3.weight"),
    ],
)
def test_other_models_are_named(tmp_path: Path, how: str, said: str) -> None:
    save_file(spoilt(how), tmp_path / "model.safetensors")
    store = Store(tmp_path / "store")
    with pytest.raises(InputError) as raised:
        add_asset(store, KINDS["sd15"], [tmp_path / "model.safetensors"])
    assert said in raised.value.message and not store.object_paths()


@pytest.mark.parametrize(
    "part, change, said",
    [
        ("unet", {"addition_embed_type": "text_time"}, "Stable Diffusion XL"),
        ("unet", {"use_linear_projection": True}, "Stable Diffusion 2"),
        ("unet", {"in_channels": 9}, "9 channels"),
        ("unet", {"_class_name": "UNet3DConditionModel"}, "UNet3DConditionModel"),
        ("unet", {"block_out_channels": [32, 64]}, "can't be built"),
        ("vae", {"latent_channels": 16}, "has the shape"),
        ("vae", {"act_fn": "nothing"}, "can't be built"),
    ],
)
def test_configurations_of_other_models_are_named(tmp_path: Path, part: str, change: dict, said: str) -> None:
    folder = write_folder(tmp_path / "sd", reference_unet(), reference_vae())
    config = {"unet": UNET_CONFIG, "vae": VAE_CONFIG}[part] | change
    write_json(folder / part / "config.json", config)
    with pytest.raises(InputError) as raised:
        add_asset(Store(tmp_path / "store"), KINDS["sd15"], [folder])
    assert said in raised.value.message


def test_training_checkpoints_with_lightnings_classes_are_read_and_others_refused(tmp_path: Path) -> None:
    class ModelCheckpoint:
        pass

    ModelCheckpoint.__module__ = "pytorch_lightning.callbacks.model_checkpoint"
    tensors = {"state_dict": filled(ldm_vae(""), 2)}
    for name, allowed in (("ModelCheckpoint", True), ("Evil", False)):
        ModelCheckpoint.__qualname__ = ModelCheckpoint.__name__ = name
        path = tmp_path / f"{name}.ckpt"
        _save_with_class(path, tensors, ModelCheckpoint)
        if allowed:
            assert add_asset(Store(tmp_path / "store"), KINDS["vae"], [path]).is_new
        else:
            with pytest.raises(ForbiddenNameError, match=r"model_checkpoint\.Evil"):
                add_asset(Store(tmp_path / "store"), KINDS["vae"], [path])


def _save_with_class(path: Path, content: dict, cls: type) -> None:
    """torch.save of a checkpoint that mentions a class, whose module is there for the moment only."""
    import sys
    import types

    names = ["pytorch_lightning", "pytorch_lightning.callbacks", cls.__module__]
    for name in names:
        sys.modules[name] = types.ModuleType(name)
    setattr(sys.modules[cls.__module__], cls.__name__, cls)
    try:
        torch.save(content | {"callbacks": {cls: {"best": 1.0}}}, path)
    finally:
        for name in names:
            sys.modules.pop(name)


def test_an_asset_of_another_kind_is_refused(tmp_path: Path) -> None:
    torch.save(filled(ldm_vae(""), 2), tmp_path / "vae.pt")
    asset = add_asset(Store(tmp_path / "store"), KINDS["vae"], [tmp_path / "vae.pt"])
    with pytest.raises(DataError):
        load_stable_diffusion(asset)
    with pytest.raises(DataError):
        load_motion_adapter(asset)
