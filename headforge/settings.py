"""Fields of settings dataclasses: defaults, allowed values, and their part in a result's recipe."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from headforge.errors import ConfigError

ADDED: Mapping[str, bool] = {"added": True}
"""Metadata of a field added after its stage's VERSION. Its default keeps the behaviour from before."""
LARGEST_SEED = 2**63 - 1
"""Largest signed 64-bit integer; every random generator takes it."""


@dataclass(frozen=True)
class Allowed:
    """The allowed values of a field; None is no bound. Every number must also be finite."""

    at_least: float | None = None
    at_most: float | None = None
    above: float | None = None
    below: float | None = None
    one_of: tuple[object, ...] = ()

    def includes(self, value: object) -> bool:
        """Return whether the value is allowed; each value of a tuple must be."""
        if isinstance(value, tuple):
            return all(self.includes(part) for part in value)
        if self.one_of:
            return value in self.one_of
        if isinstance(value, bool) or not isinstance(value, int | float):
            return True
        return (
            (isinstance(value, int) or math.isfinite(value))
            and (self.at_least is None or value >= self.at_least)
            and (self.at_most is None or value <= self.at_most)
            and (self.above is None or value > self.above)
            and (self.below is None or value < self.below)
        )

    def __str__(self) -> str:
        """Return text such as "between 16 and 2048", "above 0 and below 120" or "one of local, dask"."""
        if self.one_of:
            return f"one of {', '.join(str(value) for value in self.one_of)}"
        if self.at_least is not None and self.at_most is not None:
            return f"between {_shown(self.at_least)} and {_shown(self.at_most)}"
        bounds = {"at least": self.at_least, "above": self.above, "at most": self.at_most, "below": self.below}
        return (
            " and ".join(f"{word} {_shown(bound)}" for word, bound in bounds.items() if bound is not None) or "finite"
        )


def _shown(bound: float) -> str:
    return str(bound) if isinstance(bound, int) else f"{bound:g}"


def setting(
    default: Any,
    *,
    at_least: float | None = None,
    at_most: float | None = None,
    above: float | None = None,
    below: float | None = None,
    one_of: Sequence[object] = (),
    added: bool = False,
) -> Any:
    """Return a field of a settings dataclass with its default and the values it may have.

    `added` marks a field added after its stage's VERSION, see `ADDED`.
    """
    allowed = Allowed(at_least, at_most, above, below, tuple(one_of))
    return dataclasses.field(default=default, metadata={"allowed": allowed, **(ADDED if added else {})})


def check_settings(config: Any, section: str) -> None:
    """Refuse values out of the range that their field allows, and numbers that are not finite.

    Call it in `__post_init__`; `section` is the section of params.yaml. Raises ConfigError.
    """
    for field in dataclasses.fields(config):
        allowed = field.metadata.get("allowed", Allowed())
        require(config, section, field.name, allowed.includes(getattr(config, field.name)), str(allowed))


def require(config: Any, section: str, name: str, is_fine: bool, allowed: str) -> None:
    """Raise ConfigError unless `is_fine`; `allowed` states what a rule between fields requires of `name`."""
    if not is_fine:
        key, found = f"{section}.{name}", getattr(config, name)
        message = f"{key} is {found!r}, it must be {allowed}."
        raise ConfigError(key, found, message, f"set {key} to a value that is {allowed}.")


def params_of(config: Any, without: tuple[str, ...] = ()) -> dict[str, object]:
    """Return the fields of a settings dataclass that identify its results.

    A field marked `ADDED` is left out while it has its default, so that earlier results remain cache hits.
    """
    left_out = {
        field.name
        for field in dataclasses.fields(config)
        if field.metadata.get("added") and getattr(config, field.name) == field.default
    }
    return {
        name: value
        for name, value in dataclasses.asdict(config).items()
        if name not in without and name not in left_out
    }
