"""The appearances of the builtin generator: which code prepares a subject and draws it."""

from __future__ import annotations

import numpy as np

from headforge.flame.builtin.head import builtin_head
from headforge.synth.builtin.subject import Subject, prepare_subject, render_view
from headforge.synth.config import SynthesizeConfig
from headforge.synth.rich.subject import RichSubject, prepare_rich
from headforge.synth.rich.traits import sample_traits
from headforge.synth.rich.view import render_rich
from headforge.synth.shots.poses import at_rest
from headforge.types import Camera, HeadParams


def prepare(config: SynthesizeConfig, subject: int) -> Subject | RichSubject:
    """Everything about a subject that its views share: a function of the config and the subject."""
    if config.appearance == "basic":
        return prepare_subject(config.seed, subject, config.long_hair_share)
    real_share = {"synthetic": 0.0, "real": 1.0}.get(config.domain, config.real_share)
    glasses_share = config.glasses_share if config.glasses else 0.0
    traits = sample_traits(config.seed, subject, config.long_hair_share, real_share, glasses_share)
    return prepare_rich(traits, config.seed, config.background)


def draw(prepared: Subject | RichSubject, params: HeadParams, camera: Camera) -> tuple[np.ndarray, np.ndarray]:
    """The picture [H, W, 3] uint8 and its mask [H, W] uint8 for unbatched parameters and camera.

    With the appearance basic the light turns with the head: its hair does not follow the parameters, so the camera is
    moved about the resting head instead.
    """
    if isinstance(prepared, RichSubject):
        return render_rich(prepared, params, camera)
    return render_view(prepared, *at_rest(builtin_head(), params, camera))
