from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from tasks.digests import folder_digest, subject_digests


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
