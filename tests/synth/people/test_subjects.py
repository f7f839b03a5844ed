"""Who the subjects are, their hair, paint and light."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch

from headforge.flame.builtin.field import head_distance
from headforge.flame.builtin.head import builtin_head
from headforge.synth.builtin.subject import prepare_subject, render_view
from headforge.synth.config import SynthesizeConfig
from headforge.synth.people.lighting import light_reaching, sample_light, sphere_directions
from headforge.synth.people.paint import PARTS, blend, paint, texture_map, tint
from headforge.synth.people.subjects import HAIR_STYLES, sample_person
from headforge.synth.shots.samplers import view_camera


def first_with(style: str) -> int:
    return next(s for s in range(2000) if sample_person(0, s, 0.18).hair_style == style)


def test_a_person_depends_on_seed_and_number() -> None:
    a, b = sample_person(0, 7, 0.18), sample_person(0, 7, 0.18)
    assert torch.equal(a.shape, b.shape) and a.attributes == b.attributes
    assert not torch.equal(a.shape, sample_person(0, 8, 0.18).shape)
    assert not torch.equal(a.shape, sample_person(1, 7, 0.18).shape)


def test_the_population_is_varied() -> None:
    people = [sample_person(0, s, 0.18) for s in range(600)]
    hair = Counter(p.attributes["hair"] for p in people)
    assert hair["long"] / 600 == pytest.approx(0.18, abs=0.04)
    assert set(hair) == {"bald", "short", "medium", "long"}
    assert min(hair.values()) > 25
    assert set(Counter(p.hair_style for p in people)) == set(HAIR_STYLES)
    skin = Counter(p.attributes["skin"] for p in people)
    assert min(skin.values()) > 60 and set(skin) == {"light", "medium", "dark"}
    shapes = torch.stack([p.shape for p in people])
    assert shapes.abs().max() <= 2.4
    assert shapes.std(0).min() > 0.7 and shapes.mean(0).abs().max() < 0.15


@pytest.mark.parametrize("style", ["short", "long", "medium", "bun", "afro"])
def test_hair_sits_outside_the_head(style: str) -> None:
    hair = prepare_subject(0, first_with(style), 0.18).hair
    assert hair is not None
    assert hair.attributes.isfinite().all()
    if style in ("long", "medium"):
        lowest = hair.vertices[:, 1].min().item()
        assert (lowest < -0.10) == (style == "long")


def test_bald_people_have_no_hair() -> None:
    assert prepare_subject(0, first_with("bald"), 0.18).hair is None


def test_the_field_is_negative_inside_and_grows_outwards() -> None:
    p = np.array([[0, 40.0, 0], [0, 40, 400], [300, 0, 0]])
    d = head_distance(p)
    assert d[0] < -30 and d[1] > 150 and d[2] > 150


def test_paint() -> None:
    person = sample_person(0, 0, 0.18)
    texture = paint(person, 0)
    maps = texture_map()
    assert texture.shape == (512, 512, 4) and texture.dtype == np.float32
    assert texture.min() >= 0 and texture.max() <= 1
    assert np.array_equal(texture, paint(person, 0))
    cheeks = texture[maps.masks["cheeks"] > 0.8][:, :3].mean(0)
    assert np.abs(cheeks - person.skin_srgb).max() < 0.15
    teeth = texture[maps.part == PARTS.index("teeth")][:, :3]
    assert teeth.mean() > 0.6
    pupil = texture[(maps.part == PARTS.index("eyeball")) & (maps.gaze < 0.1)][:, :3]
    assert pupil.max() < 0.15


def test_sphere_directions_are_even() -> None:
    d = sphere_directions(40)
    assert torch.allclose(d.norm(dim=-1), torch.ones(40))
    assert d.mean(0).norm() < 0.02


def test_an_open_plane_gets_all_light_and_a_roof_takes_it() -> None:
    light = sample_light(0, 0)
    x = torch.linspace(-0.1, 0.1, 9)
    grid = torch.stack(torch.meshgrid(x, x, indexing="ij"), -1).reshape(-1, 2)
    ids = torch.arange(81).reshape(9, 9)
    a, b, c, d = ids[:-1, :-1], ids[:-1, 1:], ids[1:, 1:], ids[1:, :-1]
    faces = torch.cat([torch.stack([a, b, c], -1).reshape(-1, 3), torch.stack([a, c, d], -1).reshape(-1, 3)])
    floor = torch.stack([grid[:, 0], torch.full((81,), -0.02), grid[:, 1]], -1)
    up = torch.tensor([0.0, 1.0, 0.0]).expand(81, 3)
    assert light_reaching(light, floor, up, floor, faces).min() > 0.95
    roof = floor + torch.tensor([0.0, 0.03, 0.0])
    covered = light_reaching(light, floor, up, torch.cat([floor, roof]), torch.cat([faces, faces + 81]))
    assert covered[40].max() < 0.3
    assert covered[0].mean() > covered[40].mean() + 0.1


def test_opening_the_mouth_changes_the_picture_there_only() -> None:
    config = SynthesizeConfig()
    subject = prepare_subject(0, first_with("short"), 0.18)
    camera = view_camera(config, 0.0, 0.0, 64)
    head = builtin_head()
    rest = head.neutral().replace(shape=subject.person.shape)
    shut, _ = render_view(subject, rest, camera)
    wide, _ = render_view(subject, rest.replace(jaw=torch.tensor([0.3, 0, 0])), camera)
    changed = np.abs(shut.astype(int) - wide.astype(int)).max(-1) > 24
    assert changed[36:].sum() > 20
    assert changed[:30].sum() == 0


def test_painting_in_place_is_what_numpy_makes_of_it() -> None:
    rng = np.random.default_rng(0)
    color, weight = rng.random((20, 30, 3), np.float32), rng.random((20, 30), np.float32).round(0) * np.float32(0.37)
    factor, other = (0.9, 1.1, 0.3), np.array([0.2, 0.4, 0.9], np.float32)
    tinted, blended = color.copy(), color.copy()
    tint(tinted, factor, weight)
    blend(blended, other, weight)
    assert np.array_equal(tinted, color * (1 + weight[..., None] * (np.asarray(factor, np.float32) - 1)))
    assert np.array_equal(blended, color + weight[..., None] * (other - color))
    tint(color, factor, weight.astype(np.float64))
    assert np.abs(color - tinted).max() < 1e-6
