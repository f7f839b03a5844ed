"""A driver without Prefect, to be killed: `python -m tests.tasks.crash_driver STORE LOG N_ITEMS` builds items in two
processes. The log gets a line for every item begun."""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from headforge.store.objects.store import Recipe, Store, StoredObject
from tasks.engines.engine import CrashedError
from tasks.engines.process_engine import ProcessEngine
from tests.tasks import jobs


def recipe(number: int) -> Recipe:
    return Recipe("crash", 1, {"number": number}, {}, {})


def main(store: Store, log: Path, n_items: int) -> None:
    with ProcessEngine(2) as engine, ThreadPoolExecutor(2) as pool:

        def build(number: int) -> StoredObject:
            for attempt in range(3):
                try:
                    return store.build(
                        recipe(number), lambda folder: engine.run(jobs.log_and_write, number, log, folder)
                    )
                except CrashedError:
                    if attempt == 2:
                        raise
            raise AssertionError

        list(pool.map(build, range(n_items)))


if __name__ == "__main__":
    main(Store(Path(sys.argv[1])), Path(sys.argv[2]), int(sys.argv[3]))
