"""Remake one view of a dataset from the dataset's own settings and compare it with the stored view."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from headforge.errors import ConfigError, InputError, Rejected
from headforge.store.dataset.columns import PARAM_COLUMNS
from headforge.store.dataset.shards import Dataset
from headforge.store.dataset.tables import read_rejects
from headforge.synth.config import SynthesizeConfig
from headforge.synth.generators import Generator
from headforge.synth.shots.samplers import subject_name
from headforge.synth.synthesize import synthesize_one
from headforge.types import Sample

MEAN_TOLERANCE_LEVELS = 0.5
"""Largest mean difference, of 255, from a picture made with another instruction set or other package versions."""
PIXEL_TOLERANCE_LEVELS = 8
SHARE_TOLERANCE = 0.01
"""Largest share of values that differ by more than `PIXEL_TOLERANCE_LEVELS`: rounding decides visibility at edges."""
PARAMETER_TOLERANCE = 1e-4
"""Largest difference of cameras in pixels, of head parameters in their own units."""


@dataclass(frozen=True)
class Comparison:
    """Differences of a remade view from the stored one."""

    differing: tuple[str, ...]
    """Names of the fields that are not equal bit for bit; empty if all are."""
    mean_levels: float
    """Mean difference of the pictures' values, of 255."""
    max_levels: int
    share: float
    """Share of the pictures' values that differ by more than `PIXEL_TOLERANCE_LEVELS`."""
    max_parameter: float

    @property
    def is_equal(self) -> bool:
        """Bit for bit."""
        return not self.differing

    @property
    def is_close(self) -> bool:
        """Within the tolerances for another machine."""
        is_close = self.mean_levels <= MEAN_TOLERANCE_LEVELS and self.share <= SHARE_TOLERANCE
        return is_close and self.max_parameter <= PARAMETER_TOLERANCE


def remake_view(dataset: Dataset, subject: int, view: int, generator: Generator[Any] | None = None) -> Sample:
    """Return the view made from the settings in dataset.json; nothing else of the dataset is used.

    `generator` is by default the one that the settings name. Raises InputError if the dataset has no such view or was
    not made by a generator, Rejected if a gate kept the view out, ConfigError if a trained generator is not given.
    """
    config = dataset_config(dataset)
    name = subject_name(subject)
    for reject in read_rejects(dataset.folder / "rejects.parquet"):
        if reject.item in (name, f"{name}/{view}"):
            help = f"the gate {reject.gate} kept it out of {dataset.folder}; take a view that is in it."
            raise Rejected(f"{name}/{view}", reject.gate, reject.reason, help, reject.value)
    if name not in dataset.subject_ids():
        raise InputError(name, f"{dataset.folder} has no subject {name}.", f"it has {_shown(dataset.subject_ids())}.")
    if view not in dataset.views_of(name):
        views = _shown([str(number) for number in dataset.views_of(name)])
        raise InputError(name, f"{dataset.folder} has no view {view} of {name}.", f"it has the views {views}.")
    return synthesize_one(config, subject, view, generator)


def dataset_config(dataset: Dataset) -> SynthesizeConfig:
    """Return the settings that a dataset was made with; InputError if they are not this generator's."""
    params: Mapping[str, Any] = dataset.description.get("params") or {}
    values: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in params.items()
    }
    try:
        if "seed" in values:
            return SynthesizeConfig(**values)
        said = "it names no seed"
    except (ConfigError, TypeError) as error:
        said = " ".join(getattr(error, "message", str(error)).rstrip(".").split())
    raise InputError(
        dataset.folder, f"{dataset.folder} was not made by this version of headforge's generator: {said}.",
        "remake pictures of imported datasets with the tool that made them.",
    )  # fmt: skip


def compare_views(remade: Sample, stored: Sample) -> Comparison:
    """Compare pictures, masks, cameras, parameters and seeds of two views; gate measurements are not compared."""
    differing = [
        name
        for name in ("split", "source", "seed", "yaw_deg", "pitch_deg", "attributes", "timestep", "camera_id")
        if getattr(remade, name) != getattr(stored, name)
    ]
    pictures = {"image": (remade.image, stored.image), "mask": (remade.mask, stored.mask)}
    if any(mine.shape != theirs.shape for mine, theirs in pictures.values()):
        return Comparison((*differing, *pictures), 255.0, 255, 1.0, 0.0)
    differing += [name for name, (mine, theirs) in pictures.items() if not np.array_equal(mine, theirs)]
    numbers = _numbers(remade), _numbers(stored)
    differing += [name for name, mine in numbers[0].items() if not torch.equal(mine, numbers[1][name])]
    levels = np.concatenate([np.abs(a.astype(int) - b.astype(int)).ravel() for a, b in pictures.values()])
    return Comparison(
        tuple(differing), float(levels.mean()), int(levels.max()), float((levels > PIXEL_TOLERANCE_LEVELS).mean()),
        max(float((mine - numbers[1][name]).abs().max()) for name, mine in numbers[0].items() if mine.numel()),
    )  # fmt: skip


def _numbers(sample: Sample) -> dict[str, torch.Tensor]:
    """Return cameras and parameters as they are stored."""
    camera = {"K": sample.camera.K, "viewmat": sample.camera.viewmat}
    params = {name: getattr(sample.params, name) for name in PARAM_COLUMNS}
    return {name: value.detach().to(torch.float32) for name, value in (camera | params).items()}


def _shown(names: list[str]) -> str:
    return ", ".join(names) if len(names) <= 8 else f"{names[0]} to {names[-1]}"
