"""A stage all of whose results are in the store already: Prefect and MLflow, which take seconds, have nothing to do."""

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
from flows.run.reporting import StageProgress
from flows.run.stage_run import StageRun
from flows.stages import DVC_CACHE, stage_named
from headforge.store.objects.store import Store, StoredObject
from tasks.items import Built, Item

N_HASHING_THREADS = 4


class _SomethingToMakeError(Exception):
    """Not all is as the last finished run left it."""


def publish_if_found(name: str, body: Callable[[StageRun], None], root: Path) -> Outcome | None:
    """Publish a stage's results again if it would use exactly the objects it used last time, and all are sound.

    None if anything has to be made, or was made for another project: then the stage runs as a flow, with its record.
    Objects are hashed, as the flow does; damaged ones are healed where a copy has the right bytes.
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
