"""The appearance rich as a generator: the builtin head with strands, beards, glasses and soft shadows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch

from headforge.flame.builtin.head import builtin_head
from headforge.synth.config import SynthesizeConfig
from headforge.synth.identities import Likeness
from headforge.synth.people.likeness import person_likeness
from headforge.synth.rich.subject import RichSubject, prepare_rich
from headforge.synth.rich.traits import sample_traits
from headforge.synth.rich.view import render_rich
from headforge.synth.shots.shots import Shot, n_fixed_cameras, sample_of, shot_params
from headforge.types import Sample


@dataclass(frozen=True)
class RichHeads:
    """A `Generator`."""

    config: SynthesizeConfig

    @property
    def has_moments(self) -> bool:
        """Return whether fixed cameras look at the same moments."""
        return n_fixed_cameras(self.config) is not None

    def subject(self, number: int) -> RichSubject:
        """Return everything about a person that its pictures share."""
        config = self.config
        real_share = {"synthetic": 0.0, "real": 1.0}.get(config.domain, config.real_share)
        glasses_share = config.glasses_share if config.glasses else 0.0
        traits = sample_traits(config.seed, number, config.long_hair_share, real_share, glasses_share)
        return prepare_rich(traits, config.seed, config.background)

    def draw(self, prepared: RichSubject, shots: Sequence[Shot]) -> Iterator[Sample]:
        """Draw pictures of a person with exact parameters."""
        for shot in shots:
            params = shot_params(self.config, builtin_head(), prepared.person.shape, shot)
            with torch.no_grad():
                image, mask = render_rich(prepared, params, shot.camera)
            yield sample_of(shot, image, mask, params, prepared.source, prepared.attributes)

    def likeness(self, prepared: RichSubject) -> Likeness:
        """Return the person's parameters as a vector, and its group."""
        return person_likeness(prepared.person, self.config.seed, self.config.long_hair_share)
