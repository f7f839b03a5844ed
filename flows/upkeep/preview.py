"""Preview of a stage's items, by the stage's own code, without building or publishing anything."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, cast

from flows.evaluate import evaluate
from flows.fit import fit
from flows.project.params import Settings, load_settings
from flows.project.project import store_root
from flows.report import report
from flows.run.methods import sources_of
from flows.stages import stage_named
from flows.synthesize import synthesize
from flows.track import track
from flows.train import train
from headforge.errors import HeadforgeError
from headforge.store.objects.store import Store, StoredObject
from tasks.items import Item
from tasks.methods import Sources

if TYPE_CHECKING:
    from flows.run.stage_run import StageRun

BODIES: Mapping[str, Callable[[StageRun], None]] = {
    "synthesize": synthesize,
    "track": track,
    "train": train,
    "fit": fit,
    "evaluate": evaluate,
    "report": report,
}


class _EndOfPreview(Exception):
    """The stage has reached a point from which its items are unknown or published."""


def preview(root: Path, stage: str) -> tuple[list[Item], str]:
    """Return the items that a stage would build now, and the reason why there may be more, or "".

    Items that depend on other items are known only after those are in the store. Without the outputs of earlier stages
    no item is known.
    """
    run = _Preview(root, load_settings(root))
    try:
        BODIES[stage](cast("StageRun", run))
    except _EndOfPreview:
        return run.items, run.missing
    except (HeadforgeError, OSError) as error:
        return run.items, getattr(error, "message", str(error))
    return run.items, ""


class _Preview:
    """Stand-in for `StageRun` that records the items and stops when one of them would have to be built."""

    def __init__(self, root: Path, settings: Settings) -> None:
        self.root = root
        self.settings = settings
        self.store = Store(store_root())
        self.items: list[Item] = []
        self.missing = ""

    def sources(self) -> Sources:
        return sources_of(self.data, self.settings, self.build)

    def data(self, stage: str) -> Path:
        return self.root / stage_named(stage).output

    def build(self, items: Sequence[Item], unit: str) -> list[StoredObject]:
        self.items += items
        found = [StoredObject(item.recipe.key, self.store.object_path(item.recipe.key), hit=True) for item in items]
        if not all(thing.path.is_dir() for thing in found):
            self.missing = f"there may be more items, which depend on these {unit} and are known after they are built"
            raise _EndOfPreview
        return found

    def accepted(self, found: Sequence[StoredObject]) -> list[StoredObject]:
        return list(found)

    def published(self, stage: str) -> AbstractContextManager[Path]:
        self.missing = ""
        raise _EndOfPreview
