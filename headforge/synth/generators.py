"""Interface and registry of the generators of people."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Protocol, TypeVar

from headforge.errors import ConfigError
from headforge.synth.builtin.generator import BasicHeads
from headforge.synth.config import SynthesizeConfig
from headforge.synth.generated import TrainedHeads, TrainedModel
from headforge.synth.identities import Likeness
from headforge.synth.rich.generator import RichHeads
from headforge.synth.shots.shots import Shot
from headforge.types import Sample


class Prepared(Protocol):
    """A person ready to be drawn; its other contents are private to its generator."""

    @property
    def number(self) -> int:
        """Return the person's number in the dataset."""
        ...


Person = TypeVar("Person", bound=Prepared)


class Generator(Protocol[Person]):
    """Draws people by number: a person is a function of (settings, number), a picture of (person, shot)."""

    @property
    def has_moments(self) -> bool:
        """Return whether every row has its moment and its camera; else none does."""
        ...

    def subject(self, number: int) -> Person:
        """Return everything about a person that its pictures share."""
        ...

    def draw(self, prepared: Person, shots: Sequence[Shot]) -> Iterator[Sample]:
        """Draw pictures of a person, each independent of the other shots; not yet gated.

        Request all shots of a person at once: some generators draw several at a time.
        """
        ...

    def likeness(self, prepared: Person) -> Likeness:
        """Return the person's identity vector and group, computed without a picture."""
        ...


def _trained_heads(config: SynthesizeConfig, model: TrainedModel | None) -> TrainedHeads:
    if model is None:
        message = f"the generator {config.generator} needs its weights."
        raise ConfigError("synthesize.generator", config.generator, message, "add them: headforge assets add")
    return TrainedHeads(config, model)


GENERATORS: Mapping[str, Callable[[SynthesizeConfig, TrainedModel | None], Generator[Any]]] = {
    "basic": lambda config, _: BasicHeads(config),
    "rich": lambda config, _: RichHeads(config),
    "spherehead": _trained_heads,
    "panohead": _trained_heads,
}
"""Constructors by `SynthesizeConfig.drawn_by`."""


def make_generator(config: SynthesizeConfig, model: TrainedModel | None = None) -> Generator[Any]:
    """Return the generator that the settings name.

    `model` is the network of a trained one, with its weights. Raises ConfigError if it is missing.
    """
    return GENERATORS[config.drawn_by](config, model)
