"""Interface of a stage's body. Does not import Prefect: a run that finds all objects in the store needs none."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path

from flows.project.params import Settings
from flows.run.methods import sources_of
from flows.run.outcome import Rejection
from flows.run.progress.reporting import StageProgress
from flows.run.publish import published
from flows.stages import stage_named
from headforge.store.objects.store import DamagedObjectError, Store, StoredObject
from tasks.items import Built, Failure, Item, rejection
from tasks.methods import Sources


class ItemsFailedError(Exception):
    """Some items could not be made; the others are in the store."""

    def __init__(self, failures: Sequence[Failure]) -> None:
        super().__init__(f"{len(failures)} items failed")
        self.failures = tuple(failures)


class StageRun:
    """Settings, inputs, item builder and record that the body of a stage works with."""

    def __init__(
        self,
        root: Path,
        settings: Settings,
        store: Store,
        builder: Callable[[Sequence[Item]], Built],
        progress: StageProgress,
    ) -> None:
        self.root = root
        self.settings = settings
        self.store = store
        self.progress = progress
        self.metrics: dict[str, float] = {}
        """Numbers for the record."""
        self.figures: list[Path] = []
        """Pictures and pages for the record."""
        self.models: dict[str, Path] = {}
        """The folders of trained models by name, to be registered."""
        self.rejected: list[Rejection] = []
        self.objects: list[StoredObject] = []
        self._builder = builder

    def sources(self) -> Sources:
        """Return the sources from which methods build their items."""
        return sources_of(self.data, self.settings, self.build)

    def data(self, stage: str) -> Path:
        """Return the output folder of a stage."""
        return self.root / stage_named(stage).output

    def published(self, stage: str) -> AbstractContextManager[Path]:
        """Return a context with a new folder that replaces the stage's output when the block ends without an error."""
        return published(self.data(stage))

    def build(self, items: Sequence[Item], unit: str) -> list[StoredObject]:
        """Build items in parallel; raises ItemsFailedError after building the others if some fail."""
        self.progress.begin(items, unit)
        built = self._builder(items)
        if built.failures:
            self.progress.end()
            raise ItemsFailedError(built.failures)
        found = [thing for thing in built.objects if thing is not None]
        self.objects += found
        if items:
            self.progress.end()
        return found

    def publish(self, item: Item, found: StoredObject, destination: Path) -> None:
        """Make a folder hold exactly an object's files; a damaged object is rebuilt once."""
        try:
            self.store.publish(found, destination)
        except DamagedObjectError:
            (again,) = self.build([item], "damaged objects")
            self.store.publish(again, destination)

    def accepted(self, found: Sequence[StoredObject]) -> list[StoredObject]:
        """Return the objects of accepted items; record the rejected ones."""
        good = []
        for thing in found:
            reason = rejection(thing)
            if reason is None:
                good.append(thing)
            else:
                self.rejected.append(Rejection(reason["item"], reason["reason"], reason["help"]))
        return good
