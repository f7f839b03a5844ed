"""Values on the device that a caller names."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, TypeVar

import torch
from torch import Tensor

from headforge.errors import ConfigError

T = TypeVar("T")


def torch_device(device: str | torch.device) -> torch.device:
    """Return the device called "cpu", "cuda" or "cuda:1". Raises ConfigError if torch does not have it here."""
    try:
        found = torch.device(device)
    except RuntimeError as error:
        raise ConfigError("device", device, f"there is no device '{device}'.", "give 'cpu' or 'cuda'.") from error
    if found.type == "cuda" and not torch.cuda.is_available():
        message = f"the device is '{device}', but torch finds no CUDA device."
        raise ConfigError("device", device, message, "give device='cpu', or install a CUDA build of torch.")
    return found


def on_device(value: T, device: torch.device) -> T:
    """Return a copy of a dataclass whose tensors, also those in mappings, are on `device`."""
    changes = {f.name: _moved(getattr(value, f.name), device) for f in dataclasses.fields(value)}  # type: ignore[arg-type]
    return dataclasses.replace(value, **changes)  # type: ignore[type-var]


def _moved(value: Any, device: torch.device) -> Any:
    if isinstance(value, Tensor):
        return value.to(device)
    if isinstance(value, Mapping):
        return {name: _moved(item, device) for name, item in value.items()}
    return value
