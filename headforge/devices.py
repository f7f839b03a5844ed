"""Compute devices: resolution of device names, and the check of entry points that need the CPU.

A function of tensors computes and allocates on the device of its inputs; functions that run a whole job take `device`
and move the data they read once. Random numbers are drawn on the CPU and then moved: they are the same on every device.
"""

from __future__ import annotations

import torch
from torch import Tensor

from headforge.errors import ConfigError, DeviceError

NAMES = "auto, cpu, cuda, or one card such as cuda:0"


def resolve_device(name: str | torch.device, key: str = "device") -> torch.device:
    """Return the device called `name`; "auto" is the graphics card if there is one, else the CPU.

    Raises ConfigError, about the setting `key`, for an unknown name or a missing card.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ConfigError(key, name, f"there is no device '{name}'.", f"give one of {NAMES}.") from error
    if device.type not in ("cpu", "cuda"):
        raise ConfigError(key, name, f"the device '{name}' is not supported.", f"give one of {NAMES}.")
    if device.type == "cuda":
        _require_card(device, key)
    return device


def _require_card(device: torch.device, key: str) -> None:
    if not torch.cuda.is_available():
        raise ConfigError(
            key, str(device), f"{key} is '{device}', but torch sees no CUDA card here.",
            "set it to cpu or auto; on a machine with a card, install a CUDA build of torch and check nvidia-smi.",
        )  # fmt: skip
    n_cards = torch.cuda.device_count()
    if (device.index or 0) >= n_cards:
        raise ConfigError(
            key, str(device), f"{key} is '{device}', but this machine has {n_cards} card(s).",
            f"give cuda:0 to cuda:{n_cards - 1}.",
        )  # fmt: skip


def require_cpu(purpose: str, **tensors: Tensor) -> None:
    """Raise DeviceError, which names `purpose`, for the first of `tensors` that is not on the CPU."""
    for name, tensor in tensors.items():
        if not tensor.is_cpu:
            raise DeviceError(name, "cpu", str(tensor.device), purpose)
