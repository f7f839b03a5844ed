"""Trained control models: pictures of a person from other sides and with other expressions.

The network needs the extra `diffusion`, so its modules are imported when a model is loaded.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from headforge.api.folders import require_kind
from headforge.api.photos import Photo, track_photo
from headforge.devices import resolve_device
from headforge.errors import MissingExtraError
from headforge.flame.model import HeadModel
from headforge.store.images import area_resize
from headforge.track.photo.photo import TrackedPhoto
from headforge.types import Camera, HeadParams

if TYPE_CHECKING:
    from headforge.diffusion.model_files import TrainedModel


@dataclass(frozen=True)
class ControlModel:
    """A trained diffusion model whose pictures follow the parameters of a head model."""

    trained: TrainedModel
    device: torch.device

    @property
    def head(self) -> HeadModel:
        """The head model whose parameters control it."""
        return self.trained.head

    @property
    def image_size(self) -> int:
        """Side of its pictures in pixels."""
        return self.trained.network.config.image_size

    def sample(
        self,
        photo: TrackedPhoto | Photo,
        *,
        yaw_deg: float | Sequence[float] = 0.0,
        pitch_deg: float | Sequence[float] = 0.0,
        params: HeadParams | None = None,
        n_steps: int = 20,
        seed: int = 0,
        domain: str = "synthetic",
    ) -> np.ndarray:
        """Sample the person of a photo in other views: [n, S, S, 3] uint8, one picture per (yaw, pitch).

        `photo` is tracked or will be (`track_photo`), or is the folder of a tracked photo. Views have the photo's focal
        length and distance and look at the head's origin from azimuths and elevations in degrees about it; a scalar
        holds for all. `params`, unbatched or [n], control the faces; by default they keep the photo's expression. Rigid
        rotation, neck and translation are the cameras' and are set to zero. The same arguments give the same pictures.

        Raises what `track_photo` raises, ModelMismatchError for parameters of another head model, ConfigError for
        `n_steps` or `domain` out of range, ShapeError for a `params` batch that is not n.
        """
        from headforge.diffusion.config import GenerateConfig
        from headforge.diffusion.generate import cameras_like, sample_person, still_params

        config = GenerateConfig(n_ddim_steps=n_steps, seed=seed, domain=domain, n_threads=torch.get_num_threads())
        name, image, tracked, camera = self._reference(photo)
        yaws, pitches = np.broadcast_arrays(np.atleast_1d(yaw_deg), np.atleast_1d(pitch_deg))
        angles = list(zip(yaws.tolist(), pitches.tolist(), strict=True))
        target = still_params(tracked if params is None else params, len(angles))
        views = cameras_like(camera, angles)
        return sample_person(config, self.trained, name, image, tracked, camera, target, views)[0]

    def _reference(self, photo: TrackedPhoto | Photo) -> tuple[str, np.ndarray, HeadParams, Camera]:
        """Return name, picture [S, S, 3], parameters and camera of the person, at the model's picture size."""
        from headforge.diffusion.generate import read_portrait

        size = self.image_size
        if isinstance(photo, (str, Path)) and Path(photo).is_dir():
            folder = require_kind(photo, "tracked photo")
            return folder.name, *read_portrait(folder, size)
        if not isinstance(photo, TrackedPhoto):
            photo = track_photo(photo, head=self.head)
        return photo.name, area_resize(photo.photo, size), photo.params, photo.camera.resized(size, size)


def load_model(folder: str | Path, *, device: str | torch.device = "cpu") -> ControlModel:
    """Load a trained model, such as data/models.

    Raises InputError if the folder is not a trained model, DataError if it is damaged, MissingExtraError without the
    extra `diffusion`, ConfigError for a device that is not there.
    """
    path, found = require_kind(folder, "trained model"), resolve_device(device)
    if importlib.util.find_spec("diffusers") is None:
        raise MissingExtraError("diffusers", "diffusion", "sampling a trained model")
    from headforge.diffusion import model_files

    return ControlModel(model_files.load_model(path, found), found)
