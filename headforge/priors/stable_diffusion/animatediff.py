"""AnimateDiff's motion modules for Stable Diffusion 1.5: the authors' checkpoint or a diffusers folder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from headforge.errors import DataError, InputError
from headforge.priors.assets import Asset, Kind, Options, Sources, one_path
from headforge.priors.stable_diffusion.diffusers_folders import part_sources, read_config, write_part
from headforge.priors.stable_diffusion.diffusers_modules import CONFIG_FILE, MOTION, load_module
from headforge.priors.tensor_files import read_tensors

FILE = "file"
WHAT = "motion adapter of AnimateDiff"
N_LEVELS, N_LAYERS = 4, 2
MARK = "motion_modules."
_RENAMED = {
    ".temporal_transformer": "", ".attention_blocks.0": ".attn1", ".attention_blocks.1": ".attn2",
    ".norms.0": ".norm1", ".norms.1": ".norm2", ".ff_norm": ".norm3",
}  # fmt: skip
"""Parts of the checkpoint's tensor names and their diffusers names."""
_CODES = ".pos_encoder.pe"
HELP = "give mm_sd_v15_v2.ckpt, or the folder of a motion adapter for SD 1.5."


def load_motion_adapter(asset: Asset, device: torch.device | str = "cpu") -> nn.Module:
    """Load diffusers' MotionAdapter of an asset of the kind "animatediff" on `device`.

    Raises DataError for damaged files, MissingExtraError without the extra `diffusion`.
    """
    if asset.kind != "animatediff":
        raise DataError(asset.folder, f"an asset of the kind {asset.kind} is not a motion adapter.", HELP)
    return load_module(MOTION, asset.folder, device)


def from_checkpoint(tensors: Mapping[str, Tensor], source: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Return the configuration and weights of the authors' checkpoint; widths and length are read from the shapes."""
    own = {name.removeprefix("module."): tensor for name, tensor in tensors.items() if MARK in name}
    first = [f"down_blocks.{level}.motion_modules.0.temporal_transformer.proj_in.weight" for level in range(N_LEVELS)]
    codes = [tensor for name, tensor in own.items() if name.endswith(_CODES)]
    if not codes or any(name not in own for name in first):
        found = f"{len(own)} tensors of motion modules" if own else "no motion modules"
        raise InputError(source, f"'{source}' is not a {WHAT}: it has {found}.", HELP)
    has_middle = any(name.startswith("mid_block.") for name in own)
    config = {
        "block_out_channels": [own[name].shape[0] for name in first], "motion_layers_per_block": N_LAYERS,
        "motion_mid_block_layers_per_block": 1, "motion_num_attention_heads": 8, "motion_norm_num_groups": 32,
        "motion_max_seq_length": codes[0].shape[1], "use_motion_mid_block": has_middle,
    }  # fmt: skip
    return config, {_new_name(name): tensor for name, tensor in own.items() if not name.endswith(_CODES)}


def _new_name(name: str) -> str:
    for old, new in _RENAMED.items():
        name = name.replace(old, new)
    return name


def _find(paths: Sequence[Path], options: Options) -> Sources:
    path = one_path(paths, "a motion adapter")
    return {FILE: path} if path.is_file() else part_sources(path, "")


def _convert(sources: Sources, folder: Path, options: Options) -> dict[str, Any]:
    if FILE in sources:
        source = sources[FILE]
        config, tensors = from_checkpoint(read_tensors(source, options.trust), source)
    else:
        source = sources["weights"]
        config, tensors = read_config(sources[CONFIG_FILE], MOTION), read_tensors(source, options.trust)
    write_part(folder, MOTION, config, tensors, source, WHAT)
    names = ("block_out_channels", "motion_max_seq_length", "use_motion_mid_block")
    return {"layout": "checkpoint" if FILE in sources else "folder", **{n: config[n] for n in names if n in config}}


ANIMATEDIFF = Kind(
    name="animatediff",
    title="AnimateDiff's motion modules for Stable Diffusion 1.5",
    gives="mm_sd_v15_v2.ckpt, or a diffusers folder of a motion adapter (config.json, weights)",
    licences=("animatediff",),
    version=1,
    find=_find,
    convert=_convert,
)
