"""Trained generators: people drawn by a network, with unknown head parameters."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from headforge.synth.config import SynthesizeConfig
from headforge.synth.identities import Likeness
from headforge.synth.shots.shots import Shot, sample_of
from headforge.types import Camera, HeadParams, Sample

ONE_CLUSTER = 0
"""Latent codes are drawn independently: they fall into no groups."""
ONE_MOMENT = 0
"""All views of a person show the same moment: the generator has one expression per person."""
SYNTHETIC = "synthetic"


class TrainedModel(Protocol):
    """Draws people by number; a person is a function of (seed, subject), a picture of (seed, subject, view)."""

    def latent(self, seed: int, subject: int) -> np.ndarray:
        """Return the person's code [D], standard normal."""
        ...

    def draw(
        self, seed: int, subject: int, angles_deg: Mapping[int, tuple[float, float]], size: int
    ) -> Iterator[tuple[np.ndarray, np.ndarray, Camera]]:
        """Yield pictures of `size` x `size` pixels in the order of `angles_deg`: azimuth and elevation by view.

        Each is [H, W, 3] uint8 with the generator's background, its mask [H, W] uint8 and its unbatched camera in
        metres.
        """
        ...


@dataclass(frozen=True)
class TrainedPerson:
    """A person drawn by a network."""

    number: int
    latent: np.ndarray
    """[D] standard normal."""


@dataclass(frozen=True)
class TrainedHeads:
    """A `Generator`."""

    config: SynthesizeConfig
    model: TrainedModel

    @property
    def has_moments(self) -> bool:
        """Return True: see `ONE_MOMENT`."""
        return True

    def subject(self, number: int) -> TrainedPerson:
        """Return the person's number and code."""
        return TrainedPerson(number, self.model.latent(self.config.seed, number))

    def draw(self, prepared: TrainedPerson, shots: Sequence[Shot]) -> Iterator[Sample]:
        """Draw pictures of a person in one pass of the network's backbone, through the network's own cameras."""
        angles_deg = {shot.view: (shot.yaw_deg, shot.pitch_deg) for shot in shots}
        pictures = self.model.draw(self.config.seed, prepared.number, angles_deg, self.config.image_size)
        for shot, (image, mask, camera) in zip(shots, pictures, strict=True):
            shown = image if self.config.background == "generated" else over_white(image, mask)
            name = f"camera_{shot.view:02d}"
            taken = dataclasses.replace(shot, camera=camera, camera_id=name, timestep=ONE_MOMENT)
            yield sample_of(taken, shown, mask, HeadParams.unknown(), SYNTHETIC)

    def likeness(self, prepared: TrainedPerson) -> Likeness:
        """Return the latent code, scaled.

        The distance of two codes is their root mean square difference: strangers are about 1.4 apart.
        """
        return Likeness(prepared.latent / np.sqrt(len(prepared.latent)), ONE_CLUSTER)


def over_white(image: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Composite a picture [H, W, 3] uint8 over white by a mask [H, W] uint8."""
    share = mask[..., None] / 255
    return (image * share + 255 * (1 - share) + 0.5).astype(np.uint8)
