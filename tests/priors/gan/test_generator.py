"""People and pictures by seed and number."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from headforge.errors import ConfigError
from headforge.geometry.cameras import yaw_pitch_deg
from headforge.priors.gan.generator import DrawSettings, GanPeople, quantised
from headforge.priors.gan.model import HeadGan
from tests.priors.gan.nets import small_gan

ANGLES_DEG = {0: (0.0, 0.0), 3: (40.0, -20.0), 5: (-90.0, 10.0)}


@pytest.fixture(scope="module")
def people() -> GanPeople:
    return GanPeople(small_gan("spherehead"), DrawSettings())


def test_a_picture_is_the_same_whatever_else_is_drawn(people: GanPeople) -> None:
    all_views = dict(zip(ANGLES_DEG, people.draw(0, 7, ANGLES_DEG, 64), strict=True))
    ((image, mask, camera),) = people.draw(0, 7, {3: ANGLES_DEG[3]}, 64)
    assert np.array_equal(image, all_views[3][0]) and np.array_equal(mask, all_views[3][1])
    assert image.shape == (64, 64, 3) and image.dtype == np.uint8 and mask.shape == (64, 64)
    assert [round(float(angle), 3) for angle in yaw_pitch_deg(camera)] == list(ANGLES_DEG[3])
    assert torch.allclose(camera.centre.norm(), torch.tensor(2.7 * 0.417), atol=1e-5)
    assert camera.width == 64 and float(camera.K[0, 0]) == pytest.approx(64 * 4.2647)


def test_people_and_seeds_differ(people: GanPeople) -> None:
    drawn = [next(people.draw(seed, subject, {0: (0.0, 0.0)}, 64))[0] for seed, subject in ((0, 0), (0, 1), (1, 0))]
    assert not np.array_equal(drawn[0], drawn[1]) and not np.array_equal(drawn[0], drawn[2])
    assert people.latent(0, 0).shape == (16,)


def test_all_views_of_a_person_share_one_backbone_pass(people: GanPeople, monkeypatch: pytest.MonkeyPatch) -> None:
    n_passes = 0
    planes = HeadGan.planes

    def counted(self: HeadGan, ws: torch.Tensor, half: bool = True) -> torch.Tensor:
        nonlocal n_passes
        n_passes += 1
        return planes(self, ws, half)

    monkeypatch.setattr(HeadGan, "planes", counted)
    list(people.draw(0, 0, ANGLES_DEG, 64))
    assert n_passes == 1


def test_larger_pictures_than_the_generator_draws_are_refused(people: GanPeople) -> None:
    with pytest.raises(ConfigError, match="128 pixels, 256"):
        next(people.draw(0, 0, ANGLES_DEG, 256))


def test_quantising_maps_the_ends_and_clips() -> None:
    image = torch.stack([torch.full((8, 8), value) for value in (-1.0, 0.0, 1.7)])
    mask = torch.full((1, 4, 4), 1.001)
    levels, covered = quantised(image, mask, 4)
    assert levels[0, 0].tolist() == [0, 128, 255]
    assert bool((covered == 255).all()) and levels.shape == (4, 4, 3)
