"""The appearance basic as a generator: the builtin head with hair as shells."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch

from headforge.flame.builtin.head import builtin_head
from headforge.synth.builtin.subject import Subject, prepare_subject, render_view
from headforge.synth.config import SynthesizeConfig
from headforge.synth.identities import Likeness
from headforge.synth.people.likeness import person_likeness
from headforge.synth.shots.poses import at_rest
from headforge.synth.shots.shots import Shot, n_fixed_cameras, sample_of, shot_params
from headforge.types import Sample


@dataclass(frozen=True)
class BasicHeads:
    """A `Generator`."""

    config: SynthesizeConfig

    @property
    def has_moments(self) -> bool:
        """Return whether fixed cameras look at the same moments."""
        return n_fixed_cameras(self.config) is not None

    def subject(self, number: int) -> Subject:
        """Return everything about a person that its pictures share."""
        return prepare_subject(self.config.seed, number, self.config.long_hair_share)

    def draw(self, prepared: Subject, shots: Sequence[Shot]) -> Iterator[Sample]:
        """Draw pictures of a person with exact parameters.

        The light turns with the head: its hair does not follow the parameters, so the camera is moved about the resting
        head instead.
        """
        head = builtin_head()
        for shot in shots:
            params = shot_params(self.config, head, prepared.person.shape, shot)
            with torch.no_grad():
                image, mask = render_view(prepared, *at_rest(head, params, shot.camera))
            yield sample_of(shot, image, mask, params, prepared.source, prepared.attributes)

    def likeness(self, prepared: Subject) -> Likeness:
        """Return the person's parameters as a vector, and its group."""
        return person_likeness(prepared.person, self.config.seed, self.config.long_hair_share)
