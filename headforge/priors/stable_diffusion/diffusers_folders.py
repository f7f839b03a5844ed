"""Parts of diffusers folders: locate files, check them, write them as safetensors and JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from headforge.errors import InputError
from headforge.pickles import check_downloaded
from headforge.priors.stable_diffusion.diffusers_modules import CONFIG_FILE, WEIGHTS_FILE, state_shapes
from headforge.priors.tensor_files import check_tensors, save_tensors
from headforge.store.files import write_json

WEIGHT_NAMES = (WEIGHTS_FILE, "diffusion_pytorch_model.bin", "diffusion_pytorch_model.fp16.safetensors")
"""In the order of preference."""
COMPUTED = ("pos_embed.pe",)
"""Suffixes of tensor names that a file may lack, because the module computes them."""
MAX_NAMED = 4


def part_sources(folder: Path, part: str) -> dict[str, Path]:
    """Return configuration and weight files of one part of a diffusers folder ("" for the folder itself), by role."""
    inside = folder / part if part else folder
    prefix = f"{part}/" if part else ""
    config = inside / CONFIG_FILE
    if not config.is_file():
        raise InputError(
            folder,
            f"'{folder}' is not a diffusers folder: it has no {prefix}{CONFIG_FILE}.",
            "give the folder that holds it, or the single file of weights.",
        )
    weights = next((inside / name for name in WEIGHT_NAMES if (inside / name).is_file()), None)
    if weights is None:
        raise InputError(
            folder,
            f"'{folder}' has no weights in '{inside}': none of {', '.join(WEIGHT_NAMES)}.",
            "download the complete folder.",
        )
    return {prefix + CONFIG_FILE: config, prefix + "weights": weights}


def read_config(path: Path, class_name: str) -> dict[str, Any]:
    """Read a part's configuration. Raises InputError if it is not JSON or for another class."""
    check_downloaded(path)
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(path, f"'{path}' is not JSON ({error}).", "download it again.") from error
    found = config.get("_class_name", class_name) if isinstance(config, dict) else None
    if found != class_name:
        raise InputError(path, f"'{path}' configures a {found}, expected a {class_name}.", "give the right folder.")
    return config


def write_part(
    folder: Path, class_name: str, config: Mapping[str, Any], tensors: Mapping[str, Tensor], source: Path, what: str
) -> None:
    """Check every tensor against the configured module, and write configuration and tensors into `folder`."""
    shapes = state_shapes(class_name, config, source)
    unknown = [name for name in tensors if name not in shapes]
    if unknown:
        named = ", ".join(unknown[:MAX_NAMED])
        raise InputError(
            source, f"'{source}' does not hold the {what}: it has {len(unknown)} unknown tensors, such as {named}.",
            "give the official file; variants with other parts don't fit.",
        )  # fmt: skip
    needed = {name: s for name, s in shapes.items() if name in tensors or not name.endswith(COMPUTED)}
    checked = check_tensors(source, tensors, needed, what)
    folder.mkdir(parents=True, exist_ok=True)
    plain = {name: value for name, value in config.items() if name != "_name_or_path"}
    write_json(folder / CONFIG_FILE, {**plain, "_class_name": class_name})
    save_tensors(folder / WEIGHTS_FILE, checked)
