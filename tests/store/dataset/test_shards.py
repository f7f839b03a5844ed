from __future__ import annotations

import dataclasses
import json
import pickle
from itertools import chain
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from headforge.errors import DataError, NotFiniteError, ShapeError
from headforge.store.dataset.shards import (
    Dataset,
    read_shard_samples,
    read_shard_views,
    write_dataset_json,
    write_shard,
)
from headforge.store.files import sha256_file
from tests.store.rows import assert_same_params, assert_same_sample, sample, subjects


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    for part, ids in enumerate((range(0, 4), range(4, 6))):
        write_shard(tmp_path / "shards" / f"part-{part:05d}.parquet", subjects(ids))
    write_dataset_json(tmp_path, generator="builtin", params={"seed": 0, "angles": (1, 2)}, licences={"builtin": "MIT"})
    return tmp_path


def test_samples_survive_a_round_trip(tmp_path: Path) -> None:
    written = subjects(range(3))
    info = write_shard(tmp_path / "part.parquet", written)
    assert (info.n_rows, info.subject_ids) == (9, ("000000", "000001", "000002"))
    assert (info.sha256, info.n_bytes) == (sha256_file(info.path), info.path.stat().st_size)
    read = read_shard_samples(tmp_path / "part.parquet")
    for found, expected in zip(read, chain.from_iterable(written), strict=True):
        assert_same_sample(found, expected)


def test_moments_and_cameras_are_columns_of_datasets_that_have_them(tmp_path: Path) -> None:
    rows = [
        [dataclasses.replace(s, timestep=s.view // 2, camera_id=f"camera_{s.view % 2:02d}") for s in one]
        for one in subjects(range(2))
    ]
    plain = write_shard(tmp_path / "plain.parquet", subjects(range(2)))
    write_shard(tmp_path / "rig.parquet", rows, has_moments=True)
    names = pq.ParquetFile(plain.path).schema_arrow.names
    assert not {"timestep", "camera_id"} & set(names)
    assert pq.ParquetFile(tmp_path / "rig.parquet").schema_arrow.names == [*names, "timestep", "camera_id"]
    assert [s.timestep for s in read_shard_samples(tmp_path / "rig.parquet")] == [0, 0, 1] * 2
    assert [s.camera_id for s in read_shard_samples(plain.path)] == [None] * 6
    views = read_shard_views(tmp_path / "rig.parquet")
    assert views.timesteps == (0, 0, 1) * 2 and views.camera_ids[:2] == ("camera_00", "camera_01")
    assert read_shard_views(plain.path).timesteps == (None,) * 6


def test_a_shard_has_one_uncompressed_row_group_per_subject(tmp_path: Path) -> None:
    write_shard(tmp_path / "part.parquet", subjects(range(3)))
    metadata = pq.ParquetFile(tmp_path / "part.parquet").metadata
    assert [metadata.row_group(g).num_rows for g in range(metadata.num_row_groups)] == [3, 3, 3]
    columns = [metadata.row_group(0).column(c) for c in range(metadata.num_columns)]
    assert {c.compression for c in columns} == {"UNCOMPRESSED"}
    assert {c.path_in_schema for c in columns if c.is_stats_set} == {"subject_id", "view", "split"}


def test_bytes_depend_on_the_samples_only(tmp_path: Path) -> None:
    first = write_shard(tmp_path / "a" / "one.parquet", subjects(range(3)))
    second = write_shard(tmp_path / "b" / "two.parquet", iter(subjects(range(3))))
    assert first.sha256 == second.sha256


def test_stored_columns_of_a_subject_do_not_depend_on_its_shard(tmp_path: Path) -> None:
    def column_bytes(path: Path, group: int) -> list[bytes]:
        data, found = path.read_bytes(), []
        row_group = pq.ParquetFile(path).metadata.row_group(group)
        for index in range(row_group.num_columns):
            column = row_group.column(index)
            found.append(data[column.data_page_offset :][: column.total_compressed_size])
        return found

    write_shard(tmp_path / "all.parquet", subjects(range(5)))
    write_shard(tmp_path / "one.parquet", subjects(range(3, 4)))
    assert column_bytes(tmp_path / "all.parquet", 3) == column_bytes(tmp_path / "one.parquet", 0)


def test_an_error_leaves_no_file(tmp_path: Path) -> None:
    wrong = dataclasses.replace(sample(0, 0), mask=np.zeros((3, 3), np.uint8))
    with pytest.raises(ShapeError):
        write_shard(tmp_path / "part.parquet", [[sample(1, 0)], [wrong]])
    assert list(tmp_path.iterdir()) == []


def test_values_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    good = sample(0, 0)
    bad = dataclasses.replace(good, params=good.params.replace(jaw=torch.tensor([0.0, float("nan"), 0.0])))
    with pytest.raises(NotFiniteError) as raised:
        write_shard(tmp_path / "part.parquet", [[bad]])
    assert (raised.value.name, raised.value.n_bad) == ("jaw", 1)


def test_views_hold_everything_but_the_pictures(tmp_path: Path) -> None:
    written = list(chain.from_iterable(subjects(range(3))))
    write_shard(tmp_path / "part.parquet", subjects(range(3)))
    views = read_shard_views(tmp_path / "part.parquet")
    assert len(views) == 9
    row = views.rows["000001", 2]
    expected = written[row]
    assert (expected.subject_id, expected.view) == ("000001", 2)
    assert torch.equal(views.camera[row].K, expected.camera.K)
    assert torch.equal(views.camera[row].viewmat, expected.camera.viewmat)
    assert_same_params(views.params[row], expected.params)
    assert views.attributes[row] == expected.attributes
    assert views.quality[row] == expected.quality
    assert views.seeds[row] == expected.seed
    assert views.yaw_deg[row] == expected.yaw_deg
    assert views.subject_rows["000001"] == slice(3, 6)


def test_a_dataset_finds_subjects_over_shards(dataset: Path) -> None:
    data = Dataset(dataset)
    assert data.subject_ids() == [f"{n:06d}" for n in range(6)]
    assert data.subject_ids("test") == ["000000", "000003"]
    assert data.subject_ids("train") == ["000001", "000002", "000004", "000005"]
    assert (data.views, data.image_size) == ((0, 1, 2), 16)
    assert data.views_of("000004") == [0, 1, 2]
    assert_same_sample(data.sample("000004", 1), sample(4, 1))
    assert [s.view for s in data.samples("000005")] == [0, 1, 2]
    assert len(data.parameters()) == 18
    assert data.head == dataset / "head_model.safetensors"


def test_a_dataset_can_be_sent_to_another_process(dataset: Path) -> None:
    data = Dataset(dataset)
    data.samples("000000")
    copy = pickle.loads(pickle.dumps(data))
    assert copy.subject_ids() == data.subject_ids()


def test_dataset_json_counts_and_hashes(dataset: Path) -> None:
    described = json.loads((dataset / "dataset.json").read_text())
    assert described["n_subjects"] == 6
    assert described["n_views"] == 18
    assert described["n_subjects_by_split"] == {"test": 2, "train": 4}
    assert described["head_models"] == ["tiny-test-head"]
    for shard in described["shards"]:
        assert shard["sha256"] == sha256_file(dataset / shard["path"])


@pytest.mark.parametrize("subject_id, view", [("000009", 0), ("000001", 7)])
def test_asking_for_what_is_not_there_raises(dataset: Path, subject_id: str, view: int) -> None:
    with pytest.raises(DataError, match="has no"):
        Dataset(dataset).sample(subject_id, view)


def test_a_folder_without_dataset_json_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="not a dataset"):
        Dataset(tmp_path)


def test_a_missing_or_cut_shard_is_refused(dataset: Path) -> None:
    path = dataset / "shards" / "part-00001.parquet"
    data = path.read_bytes()
    path.write_bytes(data[:-100])
    with pytest.raises(DataError, match="instead of"):
        Dataset(dataset).subject_ids()
    path.unlink()
    with pytest.raises(DataError, match="is missing"):
        Dataset(dataset).subject_ids()


def test_a_file_that_is_no_parquet_is_refused(tmp_path: Path) -> None:
    (tmp_path / "part.parquet").write_bytes(b"PAR1 not really")
    with pytest.raises(DataError, match="not a readable Parquet file"):
        read_shard_samples(tmp_path / "part.parquet")


def test_other_programs_read_the_pictures(dataset: Path) -> None:
    pandas = pytest.importorskip("pandas")
    frame = pandas.read_parquet(dataset / "shards" / "part-00000.parquet")
    assert frame["image"][0]["bytes"].startswith(b"\x89PNG")
    assert len(frame["shape"][0]) == 5


def test_shards_of_version_1_with_bare_picture_bytes_are_read(tmp_path: Path) -> None:
    new, old = tmp_path / "new.parquet", tmp_path / "old.parquet"
    write_shard(new, subjects(range(1)))
    table = pq.read_table(new)
    for name in ("image", "mask"):
        bare = pa.array([row["bytes"] for row in table.column(name).to_pylist()], pa.binary())
        table = table.set_column(table.column_names.index(name), name, bare)
    pq.write_table(table, old)
    for found, expected in zip(read_shard_samples(old), subjects(range(1))[0], strict=True):
        assert_same_sample(found, expected)


def test_tables_of_several_subjects_are_theirs_in_the_order_asked(dataset: Path) -> None:
    data, names = Dataset(dataset), ["000005", "000002", "000004", "000000"]
    assert data.tables(names).equals(pa.concat_tables([data.table(name) for name in names]))


@pytest.mark.parametrize("name", ["../outside.parquet", "/outside.parquet", 3])
def test_a_shard_outside_the_folder_is_refused(dataset: Path, name: object) -> None:
    described = dataset / "dataset.json"
    content = json.loads(described.read_text())
    first = dataset / content["shards"][0]["path"]
    (dataset.parent / "outside.parquet").write_bytes(first.read_bytes())
    content["shards"][0]["path"] = name
    described.write_text(json.dumps(content))
    with pytest.raises(DataError, match="outside"):
        Dataset(dataset).subject_ids()
