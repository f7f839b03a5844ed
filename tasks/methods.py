"""Methods: alternative ways to do a stage's work, each a row of the stage's table.

The tables are `tasks.train.MODELS` and `tasks.fit.METHODS`. A new method is one file with its settings, its items and
its worker function, and one row; no other code names it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from headforge.store.objects.store import StoredObject
from headforge.types import MethodOutput
from tasks.items import Item


@dataclass(frozen=True)
class Sources:
    """Inputs from which a method builds its items."""

    dataset: Path
    """Folder of the dataset, data/synthetic."""
    tracked: Path
    """Folder of the tracks, data/tracked."""
    models: Mapping[str, Path]
    """Folder of each chosen model, by name."""
    portraits: Mapping[str, str]
    """Portraits as params.yaml names them, by name."""
    settings: Mapping[str, Any]
    """Settings dataclasses by section of params.yaml, such as "generate" or "fit.coin"."""
    build: Callable[[Sequence[Item], str], list[StoredObject]]
    """Function that builds items that other items need, in parallel; takes the items and their name in the plural."""


@dataclass(frozen=True)
class Code:
    """Source of a recipe's settings and VERSION."""

    section: str
    """Section of params.yaml."""
    module: str
    """Module with the VERSION, such as headforge.avatar.fit."""

    @property
    def file(self) -> str:
        """Path of the module's file, as in dvc.yaml."""
        return f"{self.module.replace('.', '/')}.py"


@dataclass(frozen=True)
class Method:
    """A row of a stage's table."""

    title: str
    """Title of its results in the report."""
    settings: type
    """Frozen dataclass of the settings."""
    items: Callable[[Sources], list[Item]]
    """Function that returns the items, one per subject. A label is the result's folder below the method's."""
    code: Mapping[str, Code]
    """Code of each recipe of its results, by the recipe's stage name."""
    needs: tuple[str, ...] = ()
    """Models that it requires."""
    at_top: bool = False
    """Whether its settings and results are directly in the stage's section and folder, without a level of its name, as
    for the first method of a stage."""
    label: str = ""
    """Label of its pictures of held-out views, before "_tracked" or "_exact"; by default the method's name."""
    predictions: Callable[[Sources], list[Item]] = field(default=lambda sources: [])
    """Function that returns the items of the stage `evaluate` that make predictions.parquet of held-out views."""


def section_of(stage: str, name: str, method: Method) -> str:
    """Return the section of params.yaml with a method's settings."""
    return stage if method.at_top else f"{stage}.{name}"


def output_of(name: str, method: Method, suffix: str = "") -> MethodOutput:
    """Return the output of a method, as later stages need it; `suffix` ends the label of a method that sets none."""
    folder, prefix = ("", "") if method.at_top else (name, f"{name}_")
    return MethodOutput(name, method.title, method.label or f"{name}{suffix}", folder, prefix)


def labelled(item: Item, output: MethodOutput) -> Item:
    """Return the item with its path below the stage's folder as label."""
    return item if not output.folder else item.relabelled(f"{output.folder}/{item.label}")
