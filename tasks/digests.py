"""Content digests of what a stage reads: the part of a recipe that says which inputs were used."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

import pyarrow.parquet as pq

from headforge.store.files import canonical_json, sha256_file


def folder_digest(folder: Path, files: Iterable[Path] | None = None) -> str:
    """SHA-256 of the names and contents of files in a folder, all of them by default."""
    chosen = sorted(path for path in folder.rglob("*") if path.is_file()) if files is None else sorted(files)
    listing = {path.relative_to(folder).as_posix(): sha256_file(path) for path in chosen}
    return hashlib.sha256(canonical_json(listing).encode()).hexdigest()


def subject_digests(shards: Iterable[Path]) -> dict[str, str]:
    """SHA-256 of each subject's rows in Parquet shards with one row group per subject, by subject id.

    A subject keeps its digest when it moves to another shard: the stored bytes of a row group hold no positions.
    """
    digests: dict[str, str] = {}
    for shard in shards:
        with pq.ParquetFile(shard) as file, shard.open("rb") as raw:
            for number in range(file.num_row_groups):
                group = file.metadata.row_group(number)
                columns = [group.column(index) for index in range(group.num_columns)]
                subject = file.read_row_group(number, columns=["subject_id"]).column(0)[0].as_py()
                digest = hashlib.sha256()
                for column in columns:
                    start = column.data_page_offset
                    if column.has_dictionary_page and column.dictionary_page_offset is not None:
                        start = min(start, column.dictionary_page_offset)
                    raw.seek(start)
                    digest.update(raw.read(column.total_compressed_size))
                digests[subject] = digest.hexdigest()
    return digests
