"""Fast path of a stage whose results are all in the store: it avoids the start of Prefect and MLflow (seconds)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from flows.project.params import load_settings
from flows.project.project import store_root
from flows.project.receipts import read_receipts
from flows.run.failures import clear_failures
from flows.run.outcome import EXIT_DONE, Outcome
from flows.run.progress.reporting import StageProgress
from flows.run.stage_run import StageRun
from flows.stages import DVC_CACHE, stage_named
from headforge.store.objects.store import Store, StoredObject
from tasks.items import Built, Item

N_HASHING_THREADS = 4


class _SomethingToMakeError(Exception):
    """An object that the last finished run used is missing, or another one is needed."""


def publish_if_found(name: str, body: Callable[[StageRun], None], root: Path) -> Outcome | None:
    """Publish a stage's results again if it would use exactly the objects of its last run and all are intact.

    Returns None if an object must be built or was not used by this project before: the stage then runs as a flow, with
    its record. Objects are hashed, as in the flow; damaged ones are restored from intact copies.
    """
    used = frozenset(read_receipts(root).get(name, ()))
    if not used:
        return None
    settings, store = load_settings(root), Store(store_root())
    copies = (root / DVC_CACHE, root / stage_named(name).output)
    with StageProgress(name) as progress:
        run = StageRun(root, settings, store, partial(_find, store, used, copies, progress), progress)
        try:
            body(run)
        except _SomethingToMakeError:
            return None
    if {thing.key for thing in run.objects} != used:
        return None
    clear_failures(root, name)
    return Outcome(EXIT_DONE, "", tuple(run.rejected), len(run.objects), len(run.objects))


def _find(
    store: Store, used: frozenset[str], copies: Sequence[Path], progress: StageProgress, items: Sequence[Item]
) -> Built:
    if not used.issuperset(item.recipe.key for item in items):
        raise _SomethingToMakeError

    def get(item: Item) -> StoredObject | None:
        found = store.get(item.recipe, copies, rehash=True)
        if found is not None:
            progress.item_ended(item, is_hit=True)
        return found

    with ThreadPoolExecutor(N_HASHING_THREADS) as pool:
        found = tuple(pool.map(get, items))
    if None in found:
        raise _SomethingToMakeError
    return Built(found, ())
