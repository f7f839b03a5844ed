"""Animatable human heads: datasets, tracking, controlled diffusion and Gaussian avatars on one head model.

The names for notebooks are here (docs/python.md); everything else is in the subpackages. Importing headforge loads none
of them: a module, and torch with it, is loaded at the first use of its name.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from headforge.api.avatars import PosedAvatar, load_avatar
    from headforge.api.cameras import orbit_camera
    from headforge.api.datasets import open_dataset
    from headforge.api.heads import load_head, pose_params, render_head
    from headforge.api.models import ControlModel, load_model
    from headforge.api.photos import track_photo
    from headforge.api.pictures import save_image, show
    from headforge.errors import HeadforgeError
    from headforge.flame.model import HeadModel
    from headforge.store.dataset.shards import Dataset
    from headforge.track.photo.photo import TrackedPhoto
    from headforge.types import Camera, HeadParams, Sample

__version__ = "0.1.0"
__all__ = [
    "Camera",
    "ControlModel",
    "Dataset",
    "HeadModel",
    "HeadParams",
    "HeadforgeError",
    "PosedAvatar",
    "Sample",
    "TrackedPhoto",
    "load_avatar",
    "load_head",
    "load_model",
    "open_dataset",
    "orbit_camera",
    "pose_params",
    "render_head",
    "save_image",
    "show",
    "track_photo",
]
_MODULES = {
    "Camera": "headforge.types",
    "ControlModel": "headforge.api.models",
    "Dataset": "headforge.store.dataset.shards",
    "HeadModel": "headforge.flame.model",
    "HeadParams": "headforge.types",
    "HeadforgeError": "headforge.errors",
    "PosedAvatar": "headforge.api.avatars",
    "Sample": "headforge.types",
    "TrackedPhoto": "headforge.track.photo.photo",
    "load_avatar": "headforge.api.avatars",
    "load_head": "headforge.api.heads",
    "load_model": "headforge.api.models",
    "open_dataset": "headforge.api.datasets",
    "orbit_camera": "headforge.api.cameras",
    "pose_params": "headforge.api.heads",
    "render_head": "headforge.api.heads",
    "save_image": "headforge.api.pictures",
    "show": "headforge.api.pictures",
    "track_photo": "headforge.api.photos",
}
"""The module of each public name."""


def __getattr__(name: str) -> object:
    if name not in _MODULES:
        raise AttributeError(f"module 'headforge' has no attribute '{name}'")
    value = getattr(import_module(_MODULES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
