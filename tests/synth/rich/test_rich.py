"""The rich appearance: who is drawn, that it depends on (seed, subject, view) only, and where the domains differ."""

from __future__ import annotations

import dataclasses
import functools
from collections import Counter

import numpy as np
import pytest
import torch
from scipy import ndimage

from headforge.errors import ConfigError
from headforge.flame.builtin.head import builtin_head
from headforge.flame.model import landmarks, pose_head
from headforge.geometry.cameras import project
from headforge.synth.builtin.subject import Subject
from headforge.synth.config import BACKGROUNDS, SynthesizeConfig
from headforge.synth.generators import make_generator
from headforge.synth.rich.subject import RichSubject, prepare_rich
from headforge.synth.rich.traits import BEARDS, GLASSES, HAIRCUTS, Traits, sample_traits
from headforge.synth.rich.view import render_rich
from headforge.synth.shots.samplers import view_camera
from headforge.synth.synthesize import synthesize_one, synthesize_subject
from headforge.types import HeadParams

SIZE = 96
CONFIG = SynthesizeConfig(n_subjects=4, views_per_subject=2, image_size=SIZE, appearance="rich", domain="both",
                          glasses=True, background="studio")  # fmt: skip


def traits(subject: int, *, real: float = 1.0, glasses: float = 0.0, **changes: object) -> Traits:
    return dataclasses.replace(sample_traits(0, subject, 0.18, real, glasses), **changes)  # type: ignore[arg-type]


@functools.cache
def prepared(subject: int, haircut: str = "crop", background: str = "white") -> RichSubject:
    return prepare_rich(traits(subject, haircut=haircut), 0, background)


def at_rest(subject: RichSubject) -> HeadParams:
    return builtin_head().neutral().replace(shape=subject.person.shape)


def shown(subject: RichSubject, yaw_deg: float = 0.0, **changes: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
    return render_rich(subject, at_rest(subject).replace(**changes), view_camera(CONFIG, yaw_deg, 0.0, SIZE))


def test_the_population_is_varied() -> None:
    people = [sample_traits(0, s, 0.2, 0.5, 0.25) for s in range(800)]
    assert set(Counter(p.haircut for p in people)) == set(HAIRCUTS)
    assert set(Counter(p.beard for p in people)) == set(BEARDS)
    assert set(Counter(p.glasses for p in people)) == set(GLASSES)
    assert Counter(p.is_real for p in people)[True] == pytest.approx(400, abs=4)
    assert sum(p.glasses != "none" for p in people) == pytest.approx(200, abs=4)
    assert sum(p.attributes["hair"] == "long" for p in people) == pytest.approx(160, abs=40)
    ages = Counter(p.attributes["age"] for p in people)
    assert set(ages) == {"child", "young", "middle", "old"} and min(ages.values()) > 25
    assert not any(p.beard != "none" for p in people if p.is_child or not p.person.is_masculine)
    assert torch.stack([p.person.shape for p in people]).abs().max() <= 2.5


def test_the_shares_change_nothing_else() -> None:
    for subject in range(12):
        a, b = traits(subject, real=0.0, glasses=0.0), traits(subject, real=1.0, glasses=1.0)
        assert (a.is_real, b.is_real, a.glasses) == (False, True, "none") and b.glasses != "none"
        assert torch.equal(a.person.shape, b.person.shape)
        assert {**a.attributes, "glasses": ""} == {**b.attributes, "glasses": ""}


def test_a_view_depends_on_seed_subject_and_view_only() -> None:
    sample = synthesize_one(CONFIG, 2, 1)
    wider = dataclasses.replace(CONFIG, n_subjects=50, views_per_subject=9, subjects_per_shard=3)
    again = synthesize_one(wider, 2, 1)
    assert np.array_equal(sample.image, again.image) and np.array_equal(sample.mask, again.mask)
    assert sample.attributes == again.attributes and sample.source == again.source
    other = synthesize_one(dataclasses.replace(CONFIG, seed=1), 2, 1)
    assert not np.array_equal(sample.image, other.image)


def test_rows_name_their_domain_and_what_people_wear() -> None:
    samples = [sample for subject in range(4) for sample in synthesize_subject(CONFIG, subject)[0]]
    assert {s.source for s in samples} == {"real", "synthetic"}
    for sample in samples:
        assert sample.attributes["glasses"] in GLASSES
        assert sample.attributes["hair"] in ("bald", "short", "medium", "long")
    alone = [synthesize_subject(dataclasses.replace(CONFIG, domain=d), 0)[0] for d in ("real", "synthetic")]
    assert [rows[0].source for rows in alone] == ["real", "synthetic"]


@pytest.mark.parametrize("yaw_deg", [0.0, 70.0])
def test_domains_differ_in_ears_teeth_and_glasses_only(yaw_deg: float) -> None:
    head = builtin_head()
    clean, wrong = (prepare_rich(traits(3, real=real, glasses=1.0, haircut="buzz"), 0, "white") for real in (1.0, 0.0))
    pose = {"jaw": torch.tensor([0.3, 0.0, 0.0])}
    (a, a_mask), (b, b_mask) = shown(clean, yaw_deg, **pose), shown(wrong, yaw_deg, **pose)
    changed = (np.abs(a.astype(int) - b.astype(int)).max(-1) > 2) | (np.abs(a_mask.astype(int) - b_mask) > 2)
    assert changed.sum() > 20
    batched = HeadParams(head.model_id, **{k: v[None] for k, v in at_rest(clean).replace(**pose).tensors().items()})
    vertices = pose_head(head, batched)[0]
    points = [vertices[head.regions[name]] for name in ("left_ear", "right_ear", "teeth")]
    for one in (clean, wrong):
        assert (one.glasses is not None and one.ear_offsets is None) or not one.traits.is_real
        points.append(torch.from_numpy(np.concatenate([one.glasses.vertices, one.glasses.lens_vertices])))
    points.append(vertices[head.regions["left_ear"]] + torch.from_numpy(wrong.ear_offsets[head.regions["left_ear"]]))
    points.append(vertices[head.regions["right_ear"]] + torch.from_numpy(wrong.ear_offsets[head.regions["right_ear"]]))
    xy, _ = project(view_camera(CONFIG, yaw_deg, 0.0, SIZE), torch.cat(points).float())
    allowed = np.zeros((SIZE, SIZE), bool)
    at = xy.long().clamp(0, SIZE - 1).numpy()
    allowed[at[:, 1], at[:, 0]] = True
    assert not (changed & ~ndimage.binary_dilation(allowed, iterations=4)).any()


def test_landmarks_and_mask_agree_with_the_picture() -> None:
    head, subject = builtin_head(), prepared(0)
    image, mask = shown(subject)
    batched = HeadParams(head.model_id, **{k: v[None] for k, v in at_rest(subject).tensors().items()})
    xy, _ = project(view_camera(CONFIG, 0.0, 0.0, SIZE), landmarks(head, pose_head(head, batched))[0])
    at = xy[17:].long().numpy()
    assert (mask[at[:, 1], at[:, 0]] == 255).all()
    assert (image[mask == 0] == 255).all()
    eyes = image[at[19:31, 1].min() - 1 : at[19:31, 1].max() + 2, at[19:31, 0].min() : at[19:31, 0].max()]
    assert eyes.min() < 60, "pupils"


def test_hair_follows_the_skull_and_not_the_jaw() -> None:
    subject = prepared(0)
    rest, _ = shown(subject)
    spoken, _ = shown(subject, jaw=torch.tensor([0.3, 0.0, 0.0]))
    changed = np.abs(rest.astype(int) - spoken.astype(int)).max(-1) > 24
    assert changed[SIZE // 2 :].sum() > 40 and changed[: SIZE // 4].sum() == 0
    nodding, _ = shown(subject, neck=torch.tensor([0.3, 0.0, 0.0]))
    assert (np.abs(rest.astype(int) - nodding.astype(int)).max(-1) > 24)[: SIZE // 3].sum() > 100


@pytest.mark.parametrize("background", BACKGROUNDS["rich"])
def test_backgrounds_leave_the_head_alone(background: str) -> None:
    over_white, mask = shown(prepared(0))
    image, same_mask = shown(prepared(0, background=background))
    assert np.array_equal(mask, same_mask)
    difference = np.abs(image[mask == 255].astype(int) - over_white[mask == 255])
    assert difference.max() <= 1, "a mask of 255 may be 0.998 covered"
    assert (background == "white") == bool((image[mask == 0] == 255).all())


def test_the_basic_appearance_is_the_default() -> None:
    config = SynthesizeConfig(image_size=32)
    assert isinstance(make_generator(config).subject(0), Subject)
    assert synthesize_one(config, 0, 0).source == "synthetic"


@pytest.mark.parametrize(
    ("name", "value"),
    [("appearance", "lavish"), ("domain", "real"), ("background", "studio"), ("real_share", 1.5),
     ("glasses_share", -0.1)],
)  # fmt: skip
def test_bad_settings_are_refused(name: str, value: object) -> None:
    with pytest.raises(ConfigError) as caught:
        SynthesizeConfig(**{name: value})  # type: ignore[arg-type]
    assert caught.value.key == f"synthesize.{name}"


def test_the_back_of_a_head_is_drawn() -> None:
    image, mask = shown(prepared(0), 180.0)
    assert image.shape == (SIZE, SIZE, 3) and mask.shape == (SIZE, SIZE) and mask.max() == 255
