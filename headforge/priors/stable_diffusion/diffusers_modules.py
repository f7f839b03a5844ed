"""Modules of the package diffusers, built from local configurations and weights; the only file that imports it.

Nothing is downloaded: configurations and weights are read only from the named folder.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from headforge.errors import DataError, InputError, MissingExtraError

UNET, VAE, MOTION = "UNet2DConditionModel", "AutoencoderKL", "MotionAdapter"
CONFIG_FILE, WEIGHTS_FILE = "config.json", "diffusion_pytorch_model.safetensors"
"""diffusers' own names, so that a folder made here opens with `from_pretrained` too."""
_DESCRIPTIVE = ("_class_name", "_diffusers_version", "_name_or_path", "_commit_hash")


def build_module(class_name: str, config: Mapping[str, Any], source: Path) -> nn.Module:
    """Build a module of one of the three classes with random weights.

    Raises MissingExtraError without the extra `diffusion`, and InputError if the class does not take the configuration;
    `source` is the file that the message names.
    """
    try:
        from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
        from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
        from diffusers.models.unets.unet_motion_model import MotionAdapter
    except ImportError as error:
        raise MissingExtraError("diffusers", "diffusion", f"a {class_name}") from error
    classes = {UNET: UNet2DConditionModel, VAE: AutoencoderKL, MOTION: MotionAdapter}
    settings = {name: value for name, value in config.items() if name not in _DESCRIPTIVE}
    try:
        return classes[class_name](**settings)
    except Exception as error:  # the exception depends on the invalid setting
        raise InputError(
            source, f"{class_name} can't be built from '{source}' ({error}).", "give the folder as it was published."
        ) from error


def state_shapes(class_name: str, config: Mapping[str, Any], source: Path) -> dict[str, tuple[int, ...]]:
    """Return the shape of each tensor of a module, by name, without allocating it. Raises as `build_module`."""
    with torch.device("meta"):
        module = build_module(class_name, config, source)
    return {name: tuple(tensor.shape) for name, tensor in module.state_dict().items()}


def load_module(class_name: str, folder: Path, device: torch.device | str = "cpu") -> nn.Module:
    """Load the module in a folder of an asset, in evaluation mode on `device`, in the weights' own precision.

    Raises DataError if a file is missing or does not fit, MissingExtraError without the extra `diffusion`.
    """
    try:
        config = json.loads((folder / CONFIG_FILE).read_text())
        tensors = load_file(folder / WEIGHTS_FILE)
        module = build_module(class_name, config, folder / CONFIG_FILE)
        module.load_state_dict(_with_position_codes(module, tensors), assign=True)
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        raise DataError(folder, f"{folder} holds no {class_name} ({error}).", "headforge verify --repair") from error
    return module.eval().to(device)


def ddim_scheduler(folder: Path) -> Any:
    """Load diffusers' DDIMScheduler with the noise schedule of an asset; only its JSON is read."""
    try:
        from diffusers.schedulers.scheduling_ddim import DDIMScheduler
    except ImportError as error:
        raise MissingExtraError("diffusers", "diffusion", "a noise schedule") from error
    return DDIMScheduler.from_config(json.loads((folder / "scheduler_config.json").read_text()))


def _with_position_codes(module: nn.Module, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors with the sinusoids that a motion module computes and some files omit."""
    codes = {name: tensor for name, tensor in module.state_dict().items() if name.endswith("pos_embed.pe")}
    return {**codes, **tensors}
