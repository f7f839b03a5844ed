from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pyarrow.parquet as pq
import pytest

from headforge.store.dataset.shards import Dataset
from headforge.store.exchange.export import export_dataset
from headforge.store.exchange.formats.huggingface import write_huggingface
from headforge.store.exchange.rows import stored_views
from headforge.store.exchange.writing import ExportFacts
from tests.store.rows import sample


@pytest.fixture
def datasets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """Hugging Face's package, offline, with its cache in a temporary folder."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    package = pytest.importorskip("datasets")
    monkeypatch.setattr(package.config, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(package.config, "HF_DATASETS_CACHE", str(tmp_path / "hf"))
    package.disable_progress_bars()
    yield package


def test_the_folder_loads_with_its_splits_and_decoded_pictures(
    dataset: Dataset, tmp_path: Path, datasets: ModuleType
) -> None:
    export_dataset(dataset, "huggingface", tmp_path / "out")
    loaded = datasets.load_dataset(str(tmp_path / "out"))
    assert {name: len(split) for name, split in loaded.items()} == {"train": 12, "test": 6}
    row, expected = loaded["train"][4], sample(2, 1)
    assert (row["subject_id"], row["view"]) == ("000002", 1)
    np.testing.assert_array_equal(np.array(row["image"]), expected.image)
    np.testing.assert_array_equal(np.array(row["mask"]), expected.mask)
    np.testing.assert_array_equal(np.array(row["viewmat"], np.float32).reshape(4, 4), expected.camera.viewmat.numpy())


def test_the_card_names_licences_and_splits(dataset: Dataset, tmp_path: Path) -> None:
    export_dataset(dataset, "huggingface", tmp_path / "out")
    card = (tmp_path / "out" / "README.md").read_text()
    assert card.startswith("---\n")
    for text in ("* builtin: MIT", "* backgrounds: CC0", "- synthetic", "6 people in 18 pictures",
                 "  - split: test\n    path: data/test-*.parquet"):  # fmt: skip
        assert text in card


def test_a_full_file_is_followed_by_another(dataset: Dataset, tmp_path: Path) -> None:
    subjects = (stored_views(dataset.table(name)) for name in dataset.subject_ids("train"))
    about = {"licences": {}, "synthetic_media": False, "generator": "g", "head_models": [], "headforge_version": "0"}
    write_huggingface(subjects, ExportFacts(about), tmp_path, max_file_bytes=6_000)
    files = sorted(path.name for path in (tmp_path / "data").iterdir())
    assert len(files) > 1 and files[0] == "train-00000.parquet"
    assert sum(pq.ParquetFile(tmp_path / "data" / name).metadata.num_rows for name in files) == 12


def test_shards_load_as_they_are_with_decoded_pictures(dataset: Dataset, datasets: ModuleType) -> None:
    loaded = datasets.load_dataset("parquet", data_files=str(dataset.folder / "shards" / "*.parquet"), split="train")
    assert len(loaded) == 18
    row, expected = loaded[7], sample(2, 1)
    assert (row["subject_id"], row["view"], row["split"]) == ("000002", 1, "train")
    assert (row["image"].mode, row["mask"].mode) == ("RGB", "L")
    np.testing.assert_array_equal(np.array(row["image"]), expected.image)
    np.testing.assert_array_equal(np.array(row["mask"]), expected.mask)
