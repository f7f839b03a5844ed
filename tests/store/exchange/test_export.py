from __future__ import annotations

import json
import tracemalloc
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from headforge.errors import ConfigError, DataError, InputError
from headforge.store.dataset.shards import Dataset, write_dataset_json, write_shard
from headforge.store.exchange import export as export_module
from headforge.store.exchange.export import FORMATS, export_dataset
from headforge.store.exchange.heads import HeadFacts
from headforge.store.exchange.importing import import_dataset
from headforge.store.exchange.provenance import PROVENANCE
from headforge.store.exchange.rows import StoredView
from headforge.store.exchange.source import ImportConfig, ImportSource
from headforge.store.exchange.writing import ExportFacts
from headforge.store.files import sha256_file
from tests.store.exchange.conftest import LICENCES
from tests.store.rows import N_EXPR, N_SHAPE, sample

FACTS = HeadFacts("tiny-test-head", 12, N_SHAPE, N_EXPR)


def hashes(folder: Path) -> dict[str, str]:
    return {str(p.relative_to(folder)): sha256_file(p) for p in folder.rglob("*") if p.is_file()}


@pytest.mark.parametrize("to", FORMATS)
def test_every_format_says_what_it_is(dataset: Dataset, tmp_path: Path, to: str) -> None:
    made = export_dataset(dataset, to, tmp_path / "out", head=FACTS)
    assert (made.n_subjects, made.n_views) == (6, 18)
    assert made.n_bytes == sum(p.stat().st_size for p in (tmp_path / "out").rglob("*") if p.is_file())
    about = json.loads((tmp_path / "out" / PROVENANCE).read_text())
    assert about["licences"] == LICENCES
    assert about["synthetic_media"] is True
    assert about["n_subjects_by_split"] == {"train": 4, "test": 2}
    assert (about["format"], about["n_views"], about["head_models"]) == (to, 18, ["tiny-test-head"])
    assert about["dataset_json_sha256"] == sha256_file(dataset.folder / "dataset.json")


@pytest.mark.parametrize("to", FORMATS)
def test_equal_datasets_give_equal_bytes_in_either_order_of_subjects(dataset: Dataset, tmp_path: Path, to: str) -> None:
    export_dataset(dataset, to, tmp_path / "a", ["000004", "000001"], head=FACTS)
    export_dataset(dataset, to, tmp_path / "b", ["000001", "000004"], head=FACTS)
    assert hashes(tmp_path / "a") == hashes(tmp_path / "b")


def test_a_folder_that_holds_something_is_refused_and_left_alone(dataset: Dataset, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "mine.txt").write_text("keep")
    with pytest.raises(InputError, match="is not empty"):
        export_dataset(dataset, "eg3d", out)
    assert [p.name for p in out.iterdir()] == ["mine.txt"]
    (tmp_path / "file").write_text("x")
    with pytest.raises(InputError, match="not a folder"):
        export_dataset(dataset, "eg3d", tmp_path / "file")


def test_an_empty_folder_is_filled(dataset: Dataset, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    export_dataset(dataset, "eg3d", tmp_path / "out", ["000001"])
    assert (tmp_path / "out" / "dataset.json").is_file()


def test_an_error_on_the_way_leaves_no_folder(
    dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stops(subjects: Iterator[list[StoredView]], facts: ExportFacts, folder: Path) -> Mapping[str, object]:
        (folder / "half").write_text(str(next(subjects)[0]["view"]))
        raise KeyboardInterrupt

    monkeypatch.setattr(export_module, "FORMATS", {"eg3d": stops})
    before = set(tmp_path.iterdir())
    with pytest.raises(KeyboardInterrupt):
        export_dataset(dataset, "eg3d", tmp_path / "out")
    assert set(tmp_path.iterdir()) == before


def test_what_a_killed_export_left_is_removed_by_the_next(dataset: Dataset, tmp_path: Path) -> None:
    leftover = tmp_path / ".out.killed.tmp"
    leftover.mkdir()
    (leftover / "half.png").write_bytes(b"x")
    export_dataset(dataset, "eg3d", tmp_path / "out")
    assert not leftover.exists()


def test_subjects_and_formats_that_do_not_exist_are_named(dataset: Dataset, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no subject 000009") as unknown:
        export_dataset(dataset, "eg3d", tmp_path / "out", ["000001", "000009"])
    assert "000000 to 000005" in unknown.value.help
    with pytest.raises(ConfigError, match="no export format 'zip'"):
        export_dataset(dataset, "zip", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_flipped_bit_stops_the_export(dataset: Dataset, tmp_path: Path) -> None:
    path = dataset.folder / "shards" / "part-00001.parquet"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(DataError, match="is damaged"):
        export_dataset(dataset, "webdataset", tmp_path / "out")
    assert not (tmp_path / "out").exists()
    export_dataset(dataset, "webdataset", tmp_path / "out", ["000001"])


@pytest.mark.parametrize("to", FORMATS)
def test_memory_does_not_grow_with_the_number_of_people(tmp_path: Path, to: str) -> None:
    def peak_bytes(n_subjects: int) -> int:
        folder = tmp_path / str(n_subjects)
        write_shard(folder / "shards" / "part-00000.parquet", ([sample(s, 0, 96)] for s in range(n_subjects)))
        write_dataset_json(folder, generator="builtin", params={}, licences={})
        dataset = Dataset(folder)
        tracemalloc.start()
        export_dataset(dataset, to, folder / "out", head=FACTS)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return peak

    peak_bytes(2)
    assert peak_bytes(40) < 1.5 * peak_bytes(10)


def test_an_unknown_import_format_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no import format 'zip'") as error:
        import_dataset("zip", ImportConfig(source="real"), ImportSource(tmp_path), tmp_path / "out")
    assert "eg3d" in error.value.help and not (tmp_path / "out").exists()
