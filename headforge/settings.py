"""Settings as a result's recipe names them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

ADDED: Mapping[str, bool] = {"added": True}
"""Metadata of a settings field that is younger than its stage's VERSION, as in
`new: int = field(default=0, metadata=ADDED)`. Its default does what was done before there was the field."""


def params_of(config: Any, without: tuple[str, ...] = ()) -> dict[str, object]:
    """The fields of a settings dataclass that tell its results from others.

    A field marked `ADDED` is left out while it has its default: what was made before it came is found again.
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
