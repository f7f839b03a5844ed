"""People and pictures by seed and number from a loaded generator, in the dataset's conventions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from headforge.devices import resolve_device
from headforge.errors import ConfigError
from headforge.geometry.seeding import item_seed
from headforge.priors.gan.cameras import UNIT_M, frontal_label, gan_camera, in_metres
from headforge.priors.gan.checkout import OfficialGan
from headforge.priors.gan.model import GanViews, HeadGan
from headforge.priors.gan.renderer import draw_jitter
from headforge.store.images import area_resize
from headforge.types import Camera

PSI_CUTOFF = 14
"""Index from which styles are not truncated, as in the official scripts."""


@dataclass(frozen=True)
class DrawSettings:
    """Sampling settings of a generator."""

    psi: float = 0.7
    """Truncation: 0 is the average person, 1 the full variety with its failures."""
    unit_m: float = UNIT_M
    """Metres per unit of the generator's space."""
    batch: int = 1
    """Views at a time. On the CPU 1, so that no picture depends on its neighbours."""
    half: bool = False
    """Half precision in the layers trained with it; on a GPU only."""


class GanPeople:
    """A generator as a source of people: a person is a function of (seed, subject), a picture also of the view."""

    def __init__(self, model: HeadGan | OfficialGan, settings: DrawSettings, device: str = "cpu") -> None:
        """Move `model` to `device`, which is an argument of `resolve_device`."""
        self.settings, self.device = settings, resolve_device(device)
        self.model = model.to(self.device)

    def latent(self, seed: int, subject: int) -> np.ndarray:
        """Return a latent code [z_dim] float32, standard normal."""
        rng = np.random.default_rng(item_seed(seed, "latent", subject))
        return rng.standard_normal(self.model.settings.z_dim, dtype=np.float32)

    def draw(
        self, seed: int, subject: int, angles_deg: Mapping[int, tuple[float, float]], size: int
    ) -> Iterator[tuple[np.ndarray, np.ndarray, Camera]]:
        """Yield pictures of `size` x `size` pixels by view's azimuth and elevation; one backbone pass for all views.

        Each is [S, S, 3] uint8 with the generated background, its mask [S, S] uint8 and its unbatched camera in metres.
        Raises ConfigError if the generator's resolution is lower.
        """
        shape = self.model.settings
        if size > shape.image_size:
            message = f"{shape.kind} draws {shape.image_size} pixels, {size} are asked."
            raise ConfigError("synthesize.image_size", size, message, f"set it to {shape.image_size} at most.")
        ws = self.styles(seed, subject)
        with torch.no_grad():
            planes, background = self.model.planes(ws, self.settings.half), self.model.background(ws)
        views = list(angles_deg)
        for first in range(0, len(views), self.settings.batch):
            batch = views[first : first + self.settings.batch]
            found = self._render(seed, subject, batch, angles_deg, ws, planes, background)
            for i, view in enumerate(batch):
                image, mask = quantised(found.image[i], found.mask[i], size)
                camera = gan_camera(*angles_deg[view], size, shape.camera_radius, shape.camera_pivot)
                yield image, mask, in_metres(camera, self.settings.unit_m)

    def styles(self, seed: int, subject: int) -> Tensor:
        """Return the styles [1, n_ws, w_dim] of a person, conditioned on the camera in front of the face."""
        shape = self.model.settings
        z = torch.from_numpy(self.latent(seed, subject))[None].to(self.device)
        label = frontal_label(shape.camera_radius, shape.camera_pivot).to(self.device)
        with torch.no_grad():
            return self.model.styles(z, label, self.settings.psi, PSI_CUTOFF)

    def _render(
        self,
        seed: int,
        subject: int,
        views: Sequence[int],
        angles_deg: Mapping[int, tuple[float, float]],
        ws: Tensor,
        planes: Tensor,
        background: Tensor | None,
    ) -> GanViews:
        shape = self.model.settings
        size = shape.render_size
        cameras = [gan_camera(*angles_deg[view], size, shape.camera_radius, shape.camera_pivot) for view in views]
        camera = Camera.stack(cameras).to(self.device)
        jitters = [draw_jitter(seed, subject, view, size * size, shape.rays).to(self.device) for view in views]
        with torch.no_grad():
            return self.model.render(planes, ws, camera, jitters, background, self.settings.half)


def quantised(image: Tensor, mask: Tensor, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Convert a picture [3, S, S] in [-1, 1] and a mask [1, R, R] to uint8 of `size` x `size`.

    The mask is interpolated to the picture's size first; both are averaged down.
    """
    large = functional.interpolate(mask[None], image.shape[1:], mode="bilinear", align_corners=False)[0, 0]
    rgb = ((image + 1) / 2).clamp(0, 1).permute(1, 2, 0).float().cpu().numpy()
    share = large.clamp(0, 1).float().cpu().numpy()
    return _levels(area_resize(rgb, size)), _levels(area_resize(share, size))


def _levels(values: np.ndarray) -> np.ndarray:
    return (values * 255 + 0.5).astype(np.uint8)
