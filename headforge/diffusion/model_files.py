"""A trained model on disk: model.safetensors, model.json and its head model."""

from __future__ import annotations

import dataclasses
import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import safetensors
import safetensors.torch
import torch

from headforge.diffusion.config import DOMAINS, MODEL_KIND, NetworkConfig
from headforge.diffusion.networks.control import GaussianField
from headforge.diffusion.networks.latent import PatchPCA
from headforge.diffusion.networks.network import Learn2Control
from headforge.errors import ConfigError, DataError
from headforge.flame.files import HEAD_FILE, load_head
from headforge.flame.model import HeadModel
from headforge.store.files import atomic_path, write_json

SCHEMA_VERSION = 1
HELP = "train the model again: headforge train"


@dataclass(frozen=True)
class TrainedModel:
    """A model and the head model whose parameters it takes, both on one device."""

    network: Learn2Control
    head: HeadModel


def save_model(folder: Path, model: Learn2Control, head_file: Path, train: dict[str, object]) -> None:
    """Write the weights, `model.json` (sizes, training settings and training length) and the head model."""
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {name: tensor.detach().contiguous() for name, tensor in model.state_dict().items()}
    with atomic_path(folder / "model.safetensors") as path:
        safetensors.torch.save_file(tensors, path)
    with atomic_path(folder / HEAD_FILE) as path:
        shutil.copyfile(head_file, path)
    description = {
        "schema_version": SCHEMA_VERSION,
        "kind": MODEL_KIND,
        "network": dataclasses.asdict(model.config),
        "n_gaussians": len(model.field.features),
        "n_parameters": sum(p.numel() for p in model.parameters()),
        "domains": list(DOMAINS),
        "head_model": load_head(head_file).model_id,
        "train": train,
    }
    write_json(folder / "model.json", description)


def load_model(folder: Path, device: torch.device | str = "cpu") -> TrainedModel:
    """Load the model in `folder` onto `device`, ready for inference.

    Raises DataError if a file is missing or inconsistent.
    """
    try:
        description = json.loads((folder / "model.json").read_text())
        sizes = description["network"]
        config = NetworkConfig(**{**sizes, "widths": tuple(sizes["widths"])})
        with torch.device("cpu"):
            field = GaussianField(description["n_gaussians"], config.control_channels)
            model = Learn2Control(config, field, PatchPCA(config.patch, config.n_components))
        model.load_state_dict(safetensors.torch.load_file(folder / "model.safetensors"))
    except (ConfigError, OSError, ValueError, KeyError, TypeError, RuntimeError, safetensors.SafetensorError) as error:
        raise DataError(folder, f"{folder} holds no readable model ({error}).", HELP) from error
    head = load_head(folder / HEAD_FILE)
    if head.model_id != description["head_model"]:
        raise DataError(folder, f"the model in {folder} belongs to the head '{description['head_model']}', "
                        f"but the folder holds the head '{head.model_id}'.", HELP)  # fmt: skip
    return TrainedModel(model.eval().to(device), head.to(device))
