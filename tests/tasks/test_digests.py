from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from headforge.errors import DataError
from headforge.store.dataset.shards import shard_paths
from headforge.store.files import sha256_file, write_json
from tasks.digests import dataset_digest, folder_digest, shard_digests, subject_digests


def write(path: Path, subjects: dict[str, int]) -> Path:
    with pq.ParquetWriter(
        path, pa.schema([("subject_id", pa.string()), ("x", pa.int64())]), compression="none"
    ) as file:
        for subject, value in subjects.items():
            file.write_table(pa.table({"subject_id": [subject] * 3, "x": [value] * 3}))
    return path


def test_subject_keeps_its_digest_in_another_shard(tmp_path: Path) -> None:
    first = subject_digests([write(tmp_path / "a.parquet", {"a": 1, "b": 2})])
    second = subject_digests([write(tmp_path / "b.parquet", {"b": 2}), write(tmp_path / "c.parquet", {"a": 1})])
    assert first == second
    assert first["a"] != first["b"]


def test_subject_digest_sees_a_changed_value(tmp_path: Path) -> None:
    first = subject_digests([write(tmp_path / "a.parquet", {"a": 1, "b": 2})])
    second = subject_digests([write(tmp_path / "b.parquet", {"a": 1, "b": 3})])
    assert first["a"] == second["a"]
    assert first["b"] != second["b"]


def test_folder_digest_is_names_and_contents(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("1")
    before = folder_digest(tmp_path)
    (tmp_path / "a").touch()
    assert folder_digest(tmp_path) == before
    (tmp_path / "a").rename(tmp_path / "b")
    assert folder_digest(tmp_path) != before


def dataset_of_bytes(folder: Path) -> Path:
    (folder / "shards").mkdir(parents=True)
    for name in ("part-00000.parquet", "part-00001.parquet"):
        (folder / "shards" / name).write_bytes(name.encode())
    (folder / "head_model.safetensors").write_bytes(b"head")
    shards = [{"path": f"shards/{path.name}", "sha256": sha256_file(path)} for path in shard_paths(folder)]
    write_json(folder / "dataset.json", {"shards": shards})
    return folder


def test_dataset_digest_is_the_folder_digest_of_its_data(tmp_path: Path) -> None:
    dataset = dataset_of_bytes(tmp_path / "data")
    data = [*shard_paths(dataset), dataset / "head_model.safetensors"]
    assert dataset_digest(dataset) == folder_digest(dataset, data)
    assert dataset_digest(dataset, head=False) == folder_digest(dataset, data[:2])


@pytest.mark.parametrize("harm", ["bytes", "missing", "one too many"])
def test_damaged_shard_is_never_taken_for_an_input(tmp_path: Path, harm: str) -> None:
    dataset = dataset_of_bytes(tmp_path / "data")
    shard = dataset / "shards" / "part-00001.parquet"
    if harm == "bytes":
        shard.write_bytes(shard.read_bytes()[::-1])
    elif harm == "missing":
        shard.unlink()
    else:
        shard = shard.with_name("part-00002.parquet")
        shard.write_bytes(b"more")
    with pytest.raises(DataError, match=shard.name):
        shard_digests(dataset)
