"""Stable Diffusion 1.5 and its auto-encoder, converted from diffusers folders or the original single file."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from headforge.errors import DataError, InputError
from headforge.priors.assets import Asset, Kind, Options, Sources, one_path
from headforge.priors.stable_diffusion.diffusers_folders import part_sources, read_config, write_part
from headforge.priors.stable_diffusion.diffusers_modules import CONFIG_FILE, UNET, VAE, ddim_scheduler, load_module
from headforge.priors.stable_diffusion.ldm_names import (
    N_LAYERS,
    N_LEVELS,
    OLD_VAE_ATTENTION,
    TEXT_PREFIX,
    UNET_PREFIX,
    VAE_PREFIX,
    renamed,
    unet_prefixes,
    vae_prefixes,
)
from headforge.priors.tensor_files import read_tensors, save_tensors
from headforge.store.files import write_json

FILE = "file"
UNET_FOLDER, VAE_FOLDER, TEXT_FOLDER, SCHEDULER_FOLDER = "unet", "vae", "text_encoder", "scheduler"
SCALING = 0.18215
"""Factor on latents in SD 1.x."""
SCHEDULE: Mapping[str, Any] = {
    "num_train_timesteps": 1000, "beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear",
    "set_alpha_to_one": False, "steps_offset": 1, "clip_sample": False, "prediction_type": "epsilon",
}  # fmt: skip
"""Of SD 1.x; single files do not contain it."""
OTHER_FAMILIES = {
    "conditioner.": "Stable Diffusion XL",
    "cond_stage_model.model.": "Stable Diffusion 2",
    "model.diffusion_model.joint_blocks.": "Stable Diffusion 3",
}
HELP = "give Stable Diffusion 1.5: v1-5-pruned-emaonly.safetensors or the folder with unet/, vae/ and scheduler/."


@dataclass(frozen=True)
class StableDiffusion:
    """The modules of an asset, on the CPU in the weights' precision, in evaluation mode."""

    unet: nn.Module
    """diffusers' UNet2DConditionModel."""
    vae: nn.Module
    """diffusers' AutoencoderKL; latents are its means times 0.18215."""
    scheduler: Any
    """diffusers' DDIMScheduler with the schedule the weights were trained with."""


def load_stable_diffusion(asset: Asset, device: torch.device | str = "cpu") -> StableDiffusion:
    """Load the modules of an asset of the kind "sd15" on `device`.

    Raises DataError for damaged files, MissingExtraError without the extra `diffusion`.
    """
    if asset.kind != "sd15":
        raise DataError(asset.folder, f"an asset of the kind {asset.kind} is not Stable Diffusion.", HELP)
    return StableDiffusion(
        load_module(UNET, asset.folder / UNET_FOLDER, device),
        load_module(VAE, asset.folder / VAE_FOLDER, device),
        ddim_scheduler(asset.folder / SCHEDULER_FOLDER),
    )


def load_vae(asset: Asset, device: torch.device | str = "cpu") -> nn.Module:
    """Load diffusers' AutoencoderKL of an asset of the kind "vae" or "sd15" on `device`.

    Raises as `load_stable_diffusion`.
    """
    if asset.kind not in ("vae", "sd15"):
        raise DataError(asset.folder, f"an asset of the kind {asset.kind} is not an auto-encoder.", "name a vae asset.")
    return load_module(VAE, asset.folder / VAE_FOLDER, device)


def unet_from_ldm(tensors: Mapping[str, Tensor], source: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Return the configuration and weights of the U-Net in a single file; its widths are read from the shapes."""
    own = _under(tensors, UNET_PREFIX)
    for start, family in OTHER_FAMILIES.items():
        if any(name.startswith(start) for name in tensors):
            raise InputError(source, f"'{source}' is {family}, not Stable Diffusion 1.5.", HELP)
    blocks = [f"input_blocks.{1 + level * (N_LAYERS + 1)}.0.out_layers.3.weight" for level in range(N_LEVELS)]
    context = "input_blocks.1.1.transformer_blocks.0.attn2.to_k.weight"
    widths = [_shape(own, name, source)[0] for name in blocks]
    config = {
        "sample_size": 64, "in_channels": 4, "out_channels": 4, "block_out_channels": widths,
        "layers_per_block": N_LAYERS, "attention_head_dim": 8, "norm_num_groups": 32,
        "cross_attention_dim": _shape(own, context, source)[1],
        "down_block_types": ["CrossAttnDownBlock2D"] * (N_LEVELS - 1) + ["DownBlock2D"],
        "up_block_types": ["UpBlock2D"] + ["CrossAttnUpBlock2D"] * (N_LEVELS - 1),
    }  # fmt: skip
    return config, _renamed(own, unet_prefixes())


def vae_from_ldm(tensors: Mapping[str, Tensor], source: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Return configuration and weights of the auto-encoder in a single file, under `first_stage_model.` or bare."""
    own = _under(tensors, VAE_PREFIX) or {n: t for n, t in tensors.items() if not n.startswith(("loss.", "model_ema."))}
    widths = [_shape(own, f"encoder.down.{level}.block.0.conv1.weight", source)[0] for level in range(N_LEVELS)]
    config = {
        "sample_size": 512, "in_channels": 3, "out_channels": 3, "block_out_channels": widths,
        "latent_channels": _shape(own, "post_quant_conv.weight", source)[0], "layers_per_block": N_LAYERS,
        "norm_num_groups": 32, "scaling_factor": SCALING,
        "down_block_types": ["DownEncoderBlock2D"] * N_LEVELS, "up_block_types": ["UpDecoderBlock2D"] * N_LEVELS,
    }  # fmt: skip
    return config, _linear_attention(_renamed(own, vae_prefixes()))


def _find_sd15(paths: Sequence[Path], options: Options) -> Sources:
    path = one_path(paths, "Stable Diffusion")
    if path.is_file():
        return {FILE: path}
    found = {**part_sources(path, UNET_FOLDER), **part_sources(path, VAE_FOLDER)}
    schedule = path / SCHEDULER_FOLDER / "scheduler_config.json"
    if not schedule.is_file():
        raise InputError(path, f"'{path}' has no {SCHEDULER_FOLDER}/scheduler_config.json.", HELP)
    found[f"{SCHEDULER_FOLDER}/scheduler_config.json"] = schedule
    text = [path / TEXT_FOLDER / name for name in ("model.safetensors", "pytorch_model.bin")]
    if weights := next((item for item in text if item.is_file()), None):
        found[f"{TEXT_FOLDER}/weights"] = weights
    return found


def _convert_sd15(sources: Sources, folder: Path, options: Options) -> dict[str, Any]:
    if FILE in sources:
        return _convert_single(sources[FILE], folder, options)
    config = read_config(sources[f"{UNET_FOLDER}/{CONFIG_FILE}"], UNET)
    _check_family(config, sources[f"{UNET_FOLDER}/{CONFIG_FILE}"])
    weights = sources[f"{UNET_FOLDER}/weights"]
    write_part(folder / UNET_FOLDER, UNET, config, read_tensors(weights, options.trust), weights, "U-Net of SD 1.5")
    _write_vae_part(sources, VAE_FOLDER, folder, options)
    text_file = sources.get(f"{TEXT_FOLDER}/weights")
    if text_file is not None:
        _write_text_encoder(folder, read_tensors(text_file))
    schedule = sources[f"{SCHEDULER_FOLDER}/scheduler_config.json"]
    _write_schedule(folder, _read_schedule(schedule))
    return {"layout": "folder", "has_text_encoder": text_file is not None, **_sizes(config)}


def _convert_single(path: Path, folder: Path, options: Options) -> dict[str, Any]:
    tensors = read_tensors(path, options.trust)
    config, unet = unet_from_ldm(tensors, path)
    write_part(folder / UNET_FOLDER, UNET, config, unet, path, "Stable Diffusion 1.5")
    vae_config, vae = vae_from_ldm(tensors, path)
    write_part(folder / VAE_FOLDER, VAE, vae_config, vae, path, "Stable Diffusion 1.5")
    text = _under(tensors, TEXT_PREFIX)
    if text:
        _write_text_encoder(folder, text)
    _write_schedule(folder, SCHEDULE)
    return {"layout": "single file", "has_text_encoder": bool(text), **_sizes(config)}


def _find_vae(paths: Sequence[Path], options: Options) -> Sources:
    path = one_path(paths, "an auto-encoder")
    return {FILE: path} if path.is_file() else part_sources(path, "")


def _convert_vae(sources: Sources, folder: Path, options: Options) -> dict[str, Any]:
    if FILE in sources:
        config, tensors = vae_from_ldm(read_tensors(sources[FILE], options.trust), sources[FILE])
        write_part(folder / VAE_FOLDER, VAE, config, tensors, sources[FILE], "auto-encoder of Stable Diffusion")
    else:
        config = _write_vae_part(sources, "", folder, options)
    return {"layout": "single file" if FILE in sources else "folder", **_sizes(config)}


def _write_vae_part(sources: Sources, part: str, folder: Path, options: Options) -> dict[str, Any]:
    prefix = f"{part}/" if part else ""
    config = read_config(sources[prefix + CONFIG_FILE], VAE)
    weights = sources[prefix + "weights"]
    tensors = {_new_attention_name(name): t for name, t in read_tensors(weights, options.trust).items()}
    write_part(folder / VAE_FOLDER, VAE, config, tensors, weights, "auto-encoder of Stable Diffusion")
    return config


def _new_attention_name(name: str) -> str:
    head, _, last = name.rpartition(".")
    start, _, part = head.rpartition(".")
    return f"{start}.{OLD_VAE_ATTENTION[part]}.{last}" if part in OLD_VAE_ATTENTION else name


def _linear_attention(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors with attention projections as linear layers; single files store them as 1 x 1 convolutions."""
    made = dict(tensors)
    for name, tensor in tensors.items():
        if ".attentions." in name and tensor.ndim == 4:
            made[name] = tensor[:, :, 0, 0]
    return made


def _check_family(config: Mapping[str, Any], source: Path) -> None:
    if config.get("addition_embed_type"):
        raise InputError(source, f"'{source}' configures Stable Diffusion XL, not 1.5.", HELP)
    if config.get("use_linear_projection"):
        raise InputError(source, f"'{source}' configures Stable Diffusion 2, not 1.5.", HELP)
    if config.get("in_channels") != 4:
        found = config.get("in_channels")
        raise InputError(source, f"'{source}' takes {found} channels, not 4: it is not a text-to-image model.", HELP)


def _read_schedule(path: Path) -> dict[str, Any]:
    config = read_config(path, json_class(path))
    return {name: config[name] for name in SCHEDULE if name in config}


def json_class(path: Path) -> str:
    """Return the class that a configuration names; "" if it is not a JSON object or names none."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        return ""
    return str(content.get("_class_name", "")) if isinstance(content, dict) else ""


def _write_schedule(folder: Path, schedule: Mapping[str, Any]) -> None:
    (folder / SCHEDULER_FOLDER).mkdir(parents=True, exist_ok=True)
    write_json(folder / SCHEDULER_FOLDER / "scheduler_config.json", {**SCHEDULE, **schedule})


def _write_text_encoder(folder: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write the text encoder, for text conditioning; tensor names are those of transformers in both layouts."""
    (folder / TEXT_FOLDER).mkdir(parents=True, exist_ok=True)
    kept = {name: tensor for name, tensor in tensors.items() if not name.endswith("position_ids")}
    save_tensors(folder / TEXT_FOLDER / "model.safetensors", kept)


def _under(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def _renamed(tensors: Mapping[str, Tensor], prefixes: Mapping[str, str]) -> dict[str, Tensor]:
    """Rename the tensors; those without a known prefix keep their name, so that the shape check lists them."""
    return {renamed(name, prefixes) or name: tensor for name, tensor in tensors.items()}


def _shape(tensors: Mapping[str, Tensor], name: str, source: Path) -> tuple[int, ...]:
    if name not in tensors or tensors[name].ndim < 2:
        raise InputError(source, f"'{source}' is not a file of Stable Diffusion 1.5: it has no tensor {name}.", HELP)
    return tuple(tensors[name].shape)


def _sizes(config: Mapping[str, Any]) -> dict[str, Any]:
    return {name: config[name] for name in ("block_out_channels", "cross_attention_dim") if name in config}


SD15 = Kind(
    name="sd15",
    title="Stable Diffusion 1.5: U-Net, auto-encoder, noise schedule",
    gives="a diffusers folder (unet/, vae/, scheduler/) or the original single file (.safetensors, .ckpt)",
    licences=("openrail-m",),
    version=1,
    find=_find_sd15,
    convert=_convert_sd15,
)
VAE_FT_MSE = Kind(
    name="vae",
    title="the auto-encoder sd-vae-ft-mse",
    gives="a diffusers folder (config.json, weights) or vae-ft-mse-840000-ema-pruned (.safetensors, .ckpt)",
    licences=("sd-vae-ft-mse",),
    version=1,
    find=_find_vae,
    convert=_convert_vae,
)
