"""The methods that a stage uses: their items and the places of their results."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from flows.project.params import Settings
from flows.project.sections import CHOICES
from headforge.store.objects.store import StoredObject
from headforge.types import MethodOutput
from tasks.items import Item
from tasks.methods import Method, Sources, labelled


def chosen_outputs(settings: Settings, stage: str) -> list[MethodOutput]:
    """Return the outputs of the methods that a stage uses, in their order."""
    return CHOICES[stage].outputs(settings.methods[stage])


def chosen_rows(settings: Settings, stage: str) -> dict[str, Method]:
    """Return the rows of the methods that a stage uses, by name."""
    return {name: CHOICES[stage].methods[name] for name in settings.methods[stage]}


def method_items(settings: Settings, stage: str, sources: Sources) -> list[Item]:
    """Return the items of all methods that a stage uses; labels are paths below the stage's folder.

    Methods with results at the top come first: publishing clears its destination folder.
    """
    rows, outputs = chosen_rows(settings, stage), chosen_outputs(settings, stage)
    return [
        labelled(item, output)
        for output in sorted(outputs, key=lambda output: output.folder != "")
        for item in rows[output.name].items(sources)
    ]


def sources_of(
    data: Callable[[str], Path], settings: Settings, build: Callable[[Sequence[Item], str], list[StoredObject]]
) -> Sources:
    """Return the sources from which methods build their items; `data` maps a stage to its output folder."""
    models = {output.name: data("train") / output.folder for output in chosen_outputs(settings, "train")}
    return Sources(data("synthesize"), data("track"), models, settings.portraits, settings.sections, build)
