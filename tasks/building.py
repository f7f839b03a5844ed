"""Building items of work (a shard, a subject, a model), one Prefect task each. The store decides which must run."""

from __future__ import annotations

import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State, TaskRun
from prefect.futures import PrefectFuture
from prefect.states import Completed
from prefect.tasks import Task

from headforge.errors import HeadforgeError
from headforge.progress import Progress
from headforge.store.objects.store import Made, Note, Store, StoredObject
from tasks.engines.engine import CrashedError, Engine
from tasks.items import Built, Failure, Item, make_files

RETRY_DELAYS_S = [1.0, 5.0]


class Watch(Protocol):
    """Progress reporter of several items. Implementations must be thread-safe."""

    def item_begun(self, item: Item) -> Progress:
        """Begin an attempt at an item; return the progress reporter for its function."""
        ...

    def item_ended(self, item: Item, is_hit: bool) -> None:
        """Report an item as finished; `is_hit` means a cache hit."""
        ...

    def item_failed(self, item: Item) -> None:
        """Report an item as failed."""
        ...


@dataclass(eq=False)
class Workshop:
    """What all items share: store, engine, number of retries and progress reporter."""

    store: Store
    engine: Engine
    retries: int
    watch: Watch
    candidates: tuple[Path, ...] = ()
    """Folders with other copies of results, from which damaged objects are restored."""


def build_items(workshop: Workshop, items: Sequence[Item]) -> Built:
    """Build items in parallel, and continue when one fails. Must be called in a flow."""
    make = _make.with_options(retries=workshop.retries)
    futures = [make.submit(_Quoted(workshop), _Quoted(item), item.label) for item in items]
    outcomes = [_outcome(workshop, item, future) for item, future in zip(items, futures, strict=True)]
    failures = [_failure(item, o) for item, o in zip(items, outcomes, strict=True) if isinstance(o, Exception)]
    return Built(tuple(None if isinstance(o, Exception) else o for o in outcomes), tuple(failures))


class _Quoted:
    """Wrapper that keeps Prefect from searching a value for futures, field by field."""

    def __init__(self, value: Any) -> None:
        self.value = value


def _worth_retrying(task: Task[..., Any], run: TaskRun, state: State[Any]) -> bool:
    return isinstance(state.result(raise_on_failure=False), CrashedError)


@task(name="item", task_run_name="{label}", cache_policy=NO_CACHE, persist_result=False, log_prints=False,
      retry_condition_fn=_worth_retrying, retry_delay_seconds=RETRY_DELAYS_S)  # fmt: skip
def _make(quoted_workshop: _Quoted, quoted_item: _Quoted, label: str) -> State[StoredObject] | StoredObject:
    workshop: Workshop = quoted_workshop.value
    item: Item = quoted_item.value

    def make(folder: Path) -> Made:
        folders = (folder, workshop.store.work_folder(item.recipe)) if item.resumable else (folder,)
        progress = workshop.watch.item_begun(item)
        call = (make_files, item.function, item.args, folders)
        files, environment = workshop.engine.run(*call, progress=progress, needs_gpu=item.needs_gpu)
        return Made(files, Note(item.label, environment))

    # Cache hits are hashed: a bit flipped by a disk changes neither size nor time.
    found = workshop.store.build(item.recipe, make, workshop.candidates, rehash=True)
    workshop.watch.item_ended(item, found.hit)
    return Completed(name="Cached", data=found) if found.hit else found


def _outcome(workshop: Workshop, item: Item, future: PrefectFuture[Any]) -> StoredObject | Exception:
    try:
        return future.result()
    except Exception as error:
        workshop.watch.item_failed(item)
        return error


def _failure(item: Item, error: Exception) -> Failure:
    key = item.recipe.key
    if isinstance(error, HeadforgeError):
        return Failure(item.label, error.message, error.help, key=key)
    help = "run the command again: finished work is kept."
    if isinstance(error, CrashedError):
        return Failure(item.label, error.reason, help, error.details, key)
    details = "".join(traceback.format_exception(error))
    return Failure(item.label, f"{type(error).__name__}: {error}", help, details, key)
