"""Pictures of people that a trained generator makes up: nobody knows their head parameters."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Protocol

import numpy as np

from headforge.geometry.seeding import item_seed
from headforge.store.dataset.identities import Identity
from headforge.store.dataset.tables import Reject
from headforge.synth.config import SynthesizeConfig
from headforge.synth.gates import Detector, check_generated
from headforge.synth.identities import Embedder, most_frontal
from headforge.synth.shots.samplers import split_of, subject_name
from headforge.synth.shots.shots import Shot, view_shot
from headforge.types import Camera, HeadParams, Sample

ONE_CLUSTER = 0
"""Latent codes are drawn independently: they fall into no groups."""
ONE_MOMENT = 0
"""All views of a person show the same moment: the generator knows one expression of each."""
SYNTHETIC = "synthetic"


class HeadGenerator(Protocol):
    """Draws people by number; a person is a function of (seed, subject), a picture of (seed, subject, view)."""

    def latent(self, seed: int, subject: int) -> np.ndarray:
        """[D] the person's code, standard normal."""
        ...

    def draw(
        self, seed: int, subject: int, angles_deg: Mapping[int, tuple[float, float]], size: int
    ) -> Iterator[tuple[np.ndarray, np.ndarray, Camera]]:
        """Pictures of `size` x `size` pixels in the order of `angles_deg`: azimuth and elevation by view.

        Each is [H, W, 3] uint8 with the background that the generator gave it, its mask [H, W] uint8 and its unbatched
        camera in metres.
        """
        ...


def generate_views(
    config: SynthesizeConfig, subject: int, generator: HeadGenerator, detector: Detector | None = None
) -> tuple[list[Sample], list[Reject]]:
    """All views of one person that pass the gates, and the ones that don't."""
    samples: list[Sample] = []
    rejects: list[Reject] = []
    for sample in generate_samples(config, subject, range(config.views_per_subject), generator):
        failed, measured = check_generated(config, sample, detector)
        if failed is None:
            samples.append(dataclasses.replace(sample, quality=measured))
        else:
            rejects.append(Reject(f"{sample.subject_id}/{sample.view}", failed.name, failed.reason, failed.value))
    return samples, rejects


def generate_samples(
    config: SynthesizeConfig, subject: int, views: Sequence[int], generator: HeadGenerator
) -> Iterator[Sample]:
    """Some views of one person, not yet gated; the same whichever others are asked for."""
    shots = {view: view_shot(config, subject, view) for view in views}
    angles_deg = {view: (shot.yaw_deg, shot.pitch_deg) for view, shot in shots.items()}
    pictures = generator.draw(config.seed, subject, angles_deg, config.image_size)
    for view, (image, mask, camera) in zip(views, pictures, strict=True):
        shown = image if config.background == "generated" else over_white(image, mask)
        yield _sample(config, subject, view, shots[view], shown, mask, camera)


def _sample(
    config: SynthesizeConfig, subject: int, view: int, shot: Shot, image: np.ndarray, mask: np.ndarray, camera: Camera
) -> Sample:
    return Sample(
        subject_id=subject_name(subject),
        view=view,
        split=split_of(config.seed, subject, config.heldout_every),
        source=SYNTHETIC,
        seed=item_seed(config.seed, "view", subject, view),
        image=image,
        mask=mask,
        camera=camera,
        params=HeadParams.unknown(),
        yaw_deg=shot.yaw_deg,
        pitch_deg=shot.pitch_deg,
        timestep=ONE_MOMENT,
        camera_id=f"camera_{view:02d}",
    )


def over_white(image: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """[H, W, 3] uint8 over white by a mask [H, W] uint8."""
    share = mask[..., None] / 255
    return (image * share + 255 * (1 - share) + 0.5).astype(np.uint8)


def latent_identity(
    config: SynthesizeConfig,
    subject: int,
    samples: Sequence[Sample],
    generator: HeadGenerator,
    embedder: Embedder | None = None,
) -> Identity:
    """A person's row: the embedding of the most frontal view if there is an embedder, else the latent code.

    The distance of two codes is their root mean square difference: strangers are about 1.4 apart.
    """
    first = samples[0]
    if embedder is None:
        latent = generator.latent(config.seed, subject)
        vector: np.ndarray | None = latent / np.sqrt(len(latent))
    else:
        vector = embedder(most_frontal(samples).image)
    vector = np.zeros(0) if vector is None else vector
    return Identity(first.subject_id, first.split, ONE_CLUSTER, vector.astype(np.float32))
