from __future__ import annotations

import dataclasses
import pickle
from collections import Counter
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch

from headforge.errors import ConfigError, DataError
from headforge.store.dataset import shards as shards_module
from headforge.store.dataset.columns import PARAM_COLUMNS
from headforge.store.dataset.loader import Loader, LoaderConfig, ViewBatch
from headforge.store.dataset.shards import Dataset, write_dataset_json, write_shard
from tests.store.rows import sample, subjects

N_SUBJECTS, N_VIEWS = 11, 5
CONFIG = LoaderConfig(seed=3, batch_size=4, window_subjects=4)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """Eleven people in three shards with five views each, the last one with two."""
    folder = tmp_path_factory.mktemp("dataset")
    for part, ids in enumerate((range(0, 4), range(4, 8), range(8, 10))):
        write_shard(folder / "shards" / f"part-{part:05d}.parquet", subjects(ids, N_VIEWS))
    write_shard(folder / "shards" / "part-00003.parquet", subjects(range(10, 11), 2))
    write_dataset_json(folder, generator="builtin", params={}, licences={})
    return Dataset(folder)


def keys(batch: ViewBatch) -> list[tuple[str, int]]:
    return list(zip(batch.views.subject_ids, batch.views.views.tolist(), strict=True))


def stream(loader: Loader, n_images: int, n_images_seen: int = 0) -> list[tuple[str, int]]:
    n_batches = -(-n_images // loader.config.batch_size)
    found = [key for batch in islice(loader.batches(n_images_seen), n_batches) for key in keys(batch)]
    return found[:n_images]


def every_view(dataset: Dataset) -> Counter[tuple[str, int]]:
    return Counter((name, view) for name in dataset.subject_ids() for view in dataset.views_of(name))


def test_an_epoch_delivers_every_view_once_and_shuffled(dataset: Dataset) -> None:
    loader = Loader(dataset, CONFIG)
    assert [loader.n_images(epoch) for epoch in range(3)] == [52, 52, 52]
    first, second = stream(loader, 52), stream(loader, 104)[52:]
    assert Counter(first) == Counter(second) == every_view(dataset)
    assert first != second
    assert first != sorted(first)
    assert len({name for name, _ in first[:8]}) > 2


def test_a_batch_holds_the_rows_it_names(dataset: Dataset) -> None:
    for batch in islice(Loader(dataset, CONFIG).batches(), 26):
        assert batch.masks is not None
        for i, (name, view) in enumerate(keys(batch)):
            expected = sample(int(name), view, split=batch.views.splits[i])
            np.testing.assert_array_equal(batch.images[i], expected.image)
            np.testing.assert_array_equal(batch.masks[i], expected.mask)
            assert torch.equal(batch.views.camera[i].viewmat, expected.camera.viewmat)
            assert torch.equal(batch.views.camera[i].K, expected.camera.K)
            for column in PARAM_COLUMNS:
                assert torch.equal(getattr(batch.views.params[i], column), getattr(expected.params, column))
            assert batch.views.seeds[i] == expected.seed
            assert batch.views.attributes[i] == expected.attributes


def test_the_order_is_a_function_of_seed_and_epoch(dataset: Dataset) -> None:
    once = stream(Loader(dataset, CONFIG), 104)
    other_threads = dataclasses.replace(CONFIG, n_threads=3, n_batches_ahead=1, batch_size=7, with_masks=False)
    assert stream(Loader(dataset, other_threads), 104) == once
    assert stream(Loader(dataset, dataclasses.replace(CONFIG, seed=4)), 104) != once
    loader = Loader(dataset, CONFIG)
    ordered = [(name, dataset.views_of(name)[row]) for epoch in (0, 1) for name, row in loader.order(epoch)]
    assert ordered == once


@pytest.mark.parametrize("n_images_seen", [0, 1, 16, 20, 51, 52, 53, 104, 130])
def test_it_goes_on_after_any_number_of_images(dataset: Dataset, n_images_seen: int) -> None:
    loader = Loader(dataset, CONFIG)
    assert stream(loader, 30, n_images_seen) == stream(loader, n_images_seen + 30)[n_images_seen:]


@pytest.mark.parametrize("n_workers", [2, 3, 11])
def test_workers_share_an_epoch_without_overlap_and_keep_its_order(dataset: Dataset, n_workers: int) -> None:
    alone = list(Loader(dataset, CONFIG).order(1))
    parts = [
        list(Loader(dataset, dataclasses.replace(CONFIG, worker=worker, n_workers=n_workers)).order(1))
        for worker in range(n_workers)
    ]
    assert Counter(key for part in parts for key in part) == Counter(alone)
    for part in parts:
        mine = {name for name, _ in part}
        assert part == [key for key in alone if key[0] in mine]
    owners = [name for part in parts for name in {name for name, _ in part}]
    assert len(owners) == len(set(owners)) == N_SUBJECTS


def test_a_worker_delivers_its_part_and_goes_on(dataset: Dataset) -> None:
    loader = Loader(dataset, dataclasses.replace(CONFIG, worker=1, n_workers=2))
    n = loader.n_images(0)
    expected = [(name, dataset.views_of(name)[row]) for epoch in (0, 1) for name, row in loader.order(epoch)]
    assert stream(loader, n + 7) == expected[: n + 7]
    assert stream(loader, 7, n) == expected[n : n + 7]


def test_views_of_a_subject_come_together_when_asked(dataset: Dataset) -> None:
    loader = Loader(dataset, dataclasses.replace(CONFIG, views_together=2))
    assert loader.n_images(0) == 10 * 4 + 2
    left_over = []
    for epoch in range(4):
        order = list(loader.order(epoch))
        assert len(order) == len(set(order)) == loader.n_images(epoch)
        assert all(a[0] == b[0] for a, b in zip(order[::2], order[1::2], strict=True))
        left_over.append({row for row in range(N_VIEWS) if ("000001", row) not in order})
    assert all(len(rows) == 1 for rows in left_over)
    assert len(set.union(*left_over)) > 1
    assert stream(loader, 12, 8) == stream(loader, 20)[8:]
    with pytest.raises(ConfigError, match="a multiple of 2"):
        next(loader.batches(3))


def test_subjects_with_too_few_views_are_left_out(dataset: Dataset) -> None:
    loader = Loader(dataset, dataclasses.replace(CONFIG, views_together=4))
    assert "000010" not in {name for name, _ in loader.order(0)}
    with pytest.raises(ConfigError, match="0 subjects have 8 views"):
        Loader(dataset, dataclasses.replace(CONFIG, views_together=8, batch_size=8))


def test_only_the_subjects_asked_for(dataset: Dataset) -> None:
    loader = Loader(dataset, CONFIG, dataset.subject_ids("train"))
    assert {name for name, _ in loader.order(0)} == set(dataset.subject_ids("train"))


@pytest.mark.parametrize(
    "values",
    [{"batch_size": 0}, {"views_together": 3}, {"worker": 2, "n_workers": 2}, {"worker": -1}, {"n_workers": 12}],
)
def test_settings_out_of_range_are_refused(dataset: Dataset, values: dict[str, int]) -> None:
    with pytest.raises(ConfigError):
        Loader(dataset, dataclasses.replace(CONFIG, **values))


def test_a_damaged_picture_is_named(tmp_path: Path) -> None:
    write_shard(tmp_path / "shards" / "part-00000.parquet", [[sample(1, view) for view in range(4)]])
    path = tmp_path / "shards" / "part-00000.parquet"
    data = path.read_bytes()
    place = data.index(b"IDAT") + 20
    path.write_bytes(data[:place] + bytes(8) + data[place + 8 :])
    write_dataset_json(tmp_path, generator="builtin", params={}, licences={})
    with pytest.raises(DataError, match=r"000001/0: .* not a readable picture"):
        stream(Loader(Dataset(tmp_path), CONFIG), 4)


def test_it_can_be_sent_to_another_process(dataset: Dataset) -> None:
    loader = Loader(dataset, CONFIG)
    assert stream(pickle.loads(pickle.dumps(loader)), 12) == stream(loader, 12)


def test_a_dataset_keeps_few_shards_open(dataset: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shards_module, "MAX_OPEN_SHARDS", 2)
    few = Dataset(dataset.folder)
    assert [few.sample(name, 1).subject_id for name in few.subject_ids() * 2] == few.subject_ids() * 2
    assert len(few._open) <= 2
