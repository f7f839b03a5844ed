"""A subject's rows have the same bytes with one worker or four, processes or Dask, small or large shards."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from headforge.progress import SILENT
from headforge.store.objects.store import Store
from headforge.synth.config import SynthesizeConfig
from tasks.digests import subject_digests
from tasks.engines.engine import Engine, EngineConfig
from tasks.engines.profiles import make_engine
from tasks.items import Item, make_files
from tasks.synthesize import shard_items

N_SUBJECTS = 4
RUNS = (("local", 1, 32), ("local", 4, 1), ("dask-local", 2, 2))


def digests(engine: Engine, folder: Path, subjects_per_shard: int) -> dict[str, str]:
    config = SynthesizeConfig(
        n_subjects=N_SUBJECTS, subjects_per_shard=subjects_per_shard, views_per_subject=1, n_reference_views=1,
        image_size=32,
    )  # fmt: skip
    store = Store(folder / "store")

    def build(item: Item) -> Path:
        def make(folder: Path) -> None:
            engine.run(make_files, item.function, item.args, (folder,), progress=SILENT)

        return store.build(item.recipe, make).path / "part.parquet"

    with ThreadPoolExecutor(engine.n_slots) as pool:
        return subject_digests(list(pool.map(build, shard_items(config))))


@pytest.mark.slow
@pytest.mark.timeout(500)
def test_rows_depend_on_no_engine_worker_or_shard(tmp_path: Path) -> None:
    found = []
    for number, (profile, workers, subjects_per_shard) in enumerate(RUNS):
        folder = tmp_path / str(number)
        with make_engine(EngineConfig(profile, workers=workers), folder, print) as engine:
            found.append(digests(engine, folder, subjects_per_shard))
    assert len(found[0]) == N_SUBJECTS
    assert all(one == found[0] for one in found)
