"""What a method is: one way of doing a stage's work, a row of the stage's table.

`tasks.train.MODELS` and `tasks.fit.METHODS` are the tables. A new method is one file with its settings, its items and
its worker function, and one row; nothing else knows it by name.
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
    """What a method may make its items from."""

    dataset: Path
    """data/synthetic."""
    tracked: Path
    """data/tracked."""
    models: Mapping[str, Path]
    """Folder of each model that is to be trained, by name."""
    portraits: Mapping[str, str]
    """What params.yaml says of the portraits, by name."""
    settings: Mapping[str, Any]
    """A settings dataclass by section of params.yaml, such as "generate" or "fit.coin"."""
    build: Callable[[Sequence[Item], str], list[StoredObject]]
    """Build items that other items need, several at a time, named by their plural."""


@dataclass(frozen=True)
class Code:
    """Where a recipe's settings and VERSION come from."""

    section: str
    """Of params.yaml."""
    module: str
    """The module with the VERSION, such as headforge.avatar.fit."""

    @property
    def file(self) -> str:
        """The module's file, as dvc.yaml names it."""
        return f"{self.module.replace('.', '/')}.py"


@dataclass(frozen=True)
class Method:
    """A row of a stage's table."""

    title: str
    """Of its results in the report."""
    settings: type
    """Frozen dataclass of its settings."""
    items: Callable[[Sources], list[Item]]
    """Items of the stage, one for each subject. An item's label is its result's folder below the method's."""
    code: Mapping[str, Code]
    """By the stage name of each recipe that its results are made with."""
    needs: tuple[str, ...] = ()
    """Models that must be trained for it."""
    at_top: bool = False
    """Whether its settings lie directly in the stage's section and its results directly in the stage's folder, without
    a level of its name: the method that the stage had before it had several."""
    label: str = ""
    """What its pictures of held-out views are called, before "_tracked" or "_exact"; by default the method's name."""
    predictions: Callable[[Sources], list[Item]] = field(default=lambda sources: [])
    """Items of the stage `evaluate` whose predictions.parquet holds pictures of held-out views."""


def section_of(stage: str, name: str, method: Method) -> str:
    """Return the section of params.yaml that holds a method's settings."""
    return stage if method.at_top else f"{stage}.{name}"


def output_of(name: str, method: Method, suffix: str = "") -> MethodOutput:
    """Return what the stages after it need to know of a method; `suffix` ends the label of one that names none."""
    folder, prefix = ("", "") if method.at_top else (name, f"{name}_")
    return MethodOutput(name, method.title, method.label or f"{name}{suffix}", folder, prefix)


def labelled(item: Item, output: MethodOutput) -> Item:
    """Return the item with its place below the stage's folder as its label."""
    return item if not output.folder else item.relabelled(f"{output.folder}/{item.label}")
