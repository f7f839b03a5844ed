from __future__ import annotations

from pathlib import Path

import pytest

from headforge.store.dataset.shards import Dataset, write_dataset_json, write_shard
from tests.store.rows import subjects

LICENCES = {"builtin": "MIT", "backgrounds": "CC0"}


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    """Six people with three views of 16 px in two shards; 000000 and 000003 are the test split."""
    folder = tmp_path / "dataset"
    for part, ids in enumerate((range(0, 4), range(4, 6))):
        write_shard(folder / "shards" / f"part-{part:05d}.parquet", subjects(ids))
    write_dataset_json(folder, generator="builtin", params={"seed": 0}, licences=LICENCES)
    return Dataset(folder)
