"""Lineage of results. It has no times, run ids or paths: the same inputs give the same lineage."""

from __future__ import annotations

import dataclasses
import importlib
from collections.abc import Mapping, Sequence
from pathlib import Path

from flows.project.params import Settings
from flows.project.provenance import locked_outputs
from flows.project.sections import CHOICES, code_of, used_sections
from tasks.environment import PACKAGES, package_version


def lineage_of(root: Path, settings: Settings) -> dict[str, object]:
    """Return the settings, code versions and package versions."""
    return {
        "settings": {
            name: {key: list(value) if isinstance(value, tuple) else value for key, value in _fields(config)}
            for name, config in used_sections(settings.sections, settings.methods).items()
            if name != "engine"
        },
        "portraits": dict(settings.portraits),
        **({"videos": dict(settings.videos)} if settings.videos else {}),
        **({"landmarks": dict(settings.landmarks)} if settings.landmarks else {}),
        **_other_methods(settings.methods),
        "code versions": code_versions(settings.methods),
        "packages": {name: package_version(name) for name in PACKAGES},
        "inputs": locked_outputs(root, ("synthesize", "track", "train", "fit", "evaluate")),
    }


def code_versions(methods: Mapping[str, Sequence[str]]) -> dict[str, int]:
    """Return the VERSION of each module that makes results, by the name of its first recipe."""
    first: dict[str, str] = {}
    for recipe, code in code_of(methods).items():
        first.setdefault(code.module, recipe)
    return {recipe: importlib.import_module(module).VERSION for module, recipe in first.items()}


def _other_methods(methods: Mapping[str, Sequence[str]]) -> dict[str, object]:
    """Return the chosen methods of the stages for which they differ from the default."""
    others = {f"{stage}.{CHOICES[stage].key}": list(names) for stage, names in methods.items()
              if tuple(names) != CHOICES[stage].default}  # fmt: skip
    return {"methods": others} if others else {}


def _fields(config: object) -> list[tuple[str, object]]:
    return [(item.name, getattr(config, item.name)) for item in dataclasses.fields(config)]  # type: ignore[arg-type]
