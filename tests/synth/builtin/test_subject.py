"""The basic appearance's kernels against their readable twins."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from headforge.flame.builtin.head import builtin_head
from headforge.geometry.meshes import vertex_normals
from headforge.synth.builtin.subject import _vertex_normals, prepare_subject, render_view
from headforge.synth.config import SynthesizeConfig
from headforge.synth.shots.poses import at_rest
from headforge.synth.shots.shots import shot_params, view_shot
from tests.synth import twins


@pytest.mark.parametrize(("subject", "view", "hair"), [(0, 5, "short"), (4, 11, "long"), (7, 3, "medium")])
def test_pictures_against_the_twin(subject: int, view: int, hair: str) -> None:
    config = SynthesizeConfig(image_size=96, yaw_max_deg=180)
    prepared = prepare_subject(config.seed, subject, config.long_hair_share)
    assert prepared.attributes["hair"] == hair
    shot = view_shot(config, subject, view)
    params = shot_params(config, builtin_head(), prepared.person.shape, shot)
    resting = at_rest(builtin_head(), params, shot.camera)
    with torch.no_grad():
        found, expected = render_view(prepared, *resting), twins.render_view(prepared, *resting)
    for picture, wanted in zip(found, expected, strict=True):
        difference = np.abs(picture.astype(int) - wanted.astype(int))
        # Equal to the bit where torch is compiled for AVX-512; elsewhere it rounds some operations differently.
        assert difference.max() <= 1
        assert (difference > 0).mean() < 1e-4


def test_normals_against_the_twin() -> None:
    head = builtin_head()
    expected = vertex_normals(head.v_template, head.faces).numpy()
    assert np.abs(_vertex_normals(head.v_template, head.faces) - expected).max() < 1e-6
