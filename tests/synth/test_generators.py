"""The generators beside one another: what the loop asks of each is all it needs to know."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from headforge.geometry.cameras import orbit_camera
from headforge.store.dataset.identities import read_identities
from headforge.store.dataset.shards import read_shard_samples
from headforge.store.dataset.tables import read_rejects
from headforge.synth import config as settings
from headforge.synth.config import SynthesizeConfig
from headforge.synth.generators import GENERATORS, make_generator
from headforge.synth.identities import Likeness
from headforge.synth.shots.shots import Shot, sample_of
from headforge.synth.synthesize import synthesize_one, synthesize_shard
from headforge.types import Camera, HeadParams, Sample
from tests.synth.test_generated import CONFIG as OF_TRAINED
from tests.synth.test_generated import Discs

CONFIG = SynthesizeConfig(views_per_subject=3, image_size=32)


@dataclass(frozen=True)
class Square:
    number: int


class Squares:
    """Grey squares as wide as the person's number says."""

    has_moments = False

    def subject(self, number: int) -> Square:
        return Square(number)

    def draw(self, prepared: Square, shots: Sequence[Shot]) -> Iterator[Sample]:
        for shot in shots:
            mask = np.zeros((32, 32), np.uint8)
            mask[4 : 4 + 8 * prepared.number, 4 : 4 + 8 * prepared.number] = 255
            image = np.full((32, 32, 3), shot.view, np.uint8)
            yield sample_of(shot, image, mask, HeadParams.unknown(), "real", {"shape": "square"})

    def likeness(self, prepared: Square) -> Likeness:
        return Likeness(np.array([float(prepared.number)]), 5)


def test_the_loop_takes_any_generator(tmp_path: Path) -> None:
    synthesize_shard(CONFIG, [1, 2, 3], tmp_path, generator=Squares())
    samples = read_shard_samples(tmp_path / "part.parquet")
    assert [(one.subject_id, one.view) for one in samples] == [(f"{s:06d}", v) for s in (2, 3) for v in range(3)]
    assert {one.gate for one in read_rejects(tmp_path / "rejects.parquet")} == {"mask_area"}, "person 1 is too small"
    found = read_identities(tmp_path / "identities.parquet")
    assert [(one.vector.tolist(), one.cluster) for one in found] == [([2.0], 5), ([3.0], 5)]
    builtin = synthesize_one(CONFIG, 2, 1)
    for name in ("seed", "split", "yaw_deg", "pitch_deg", "timestep", "camera_id"):
        assert getattr(samples[1], name) == getattr(builtin, name)
    alone = synthesize_one(CONFIG, 2, 1, Squares())
    assert np.array_equal(alone.image, samples[1].image) and alone.attributes == {"shape": "square"}


def test_every_name_in_the_settings_has_a_generator() -> None:
    assert tuple(GENERATORS) == (*settings.APPEARANCES, *settings.TRAINED)
    assert set(settings.BACKGROUNDS) == set(settings.FIXED) == set(GENERATORS)
    for appearance in settings.APPEARANCES:
        assert SynthesizeConfig(appearance=appearance).drawn_by == appearance


@pytest.mark.parametrize("name", settings.TRAINED)
def test_a_trained_generator_is_asked_once_for_all_views_of_a_person(name: str, tmp_path: Path) -> None:
    asked: list[tuple[int, list[int]]] = []

    class Counted(Discs):
        def draw(
            self, seed: int, subject: int, angles_deg: Mapping[int, tuple[float, float]], size: int
        ) -> Iterator[tuple[np.ndarray, np.ndarray, Camera]]:
            asked.append((subject, list(angles_deg)))
            yield from super().draw(seed, subject, angles_deg, size)

    config = SynthesizeConfig(**{**vars(OF_TRAINED), "generator": name})
    synthesize_shard(config, [0, 4], tmp_path, generator=make_generator(config, Counted()))
    assert asked == [(0, [0, 1, 2, 3]), (4, [0, 1, 2, 3])]


@pytest.mark.parametrize("changes", [{}, {"appearance": "rich"}, {"sampler": "mead_like"}])
def test_rows_of_the_builtin_head_have_moments_where_cameras_are_fixed(changes: dict[str, Any]) -> None:
    config = SynthesizeConfig(**{**vars(CONFIG), **changes})
    assert make_generator(config).has_moments == (config.sampler == "mead_like")
    assert (synthesize_one(config, 0, 0).timestep is not None) == make_generator(config).has_moments


def test_drawing_leaves_gradients_on_for_the_caller() -> None:
    generator = make_generator(CONFIG)
    assert torch.is_grad_enabled()
    pictures = generator.draw(generator.subject(0), [_shot(view) for view in range(2)])
    next(pictures)
    assert torch.is_grad_enabled(), "between two pictures"


def _shot(view: int) -> Shot:
    camera = orbit_camera(0.0, 0.0, distance_m=0.92, focal_px=80.0, width=32, height=32)
    return Shot(0, view, "train", 0, camera, 0.0, 0.0, None, None)
