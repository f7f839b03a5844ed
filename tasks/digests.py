"""Content digests of a stage's inputs, for recipes."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path

import pyarrow.parquet as pq

from headforge.errors import DataError
from headforge.store.dataset.columns import REPAIR_HELP
from headforge.store.dataset.shards import Dataset, shard_paths
from headforge.store.files import canonical_json, sha256_file


def folder_digest(folder: Path, files: Iterable[Path] | None = None) -> str:
    """Return the SHA-256 of the names and contents of files in a folder, by default all."""
    chosen = sorted(path for path in folder.rglob("*") if path.is_file()) if files is None else sorted(files)
    return _listing_digest(folder, {path: sha256_file(path) for path in chosen})


def _listing_digest(folder: Path, digests: Mapping[Path, str]) -> str:
    listing = {path.relative_to(folder).as_posix(): digest for path, digest in digests.items()}
    return hashlib.sha256(canonical_json(listing).encode()).hexdigest()


def shard_digests(dataset: Path) -> dict[Path, str]:
    """Return the SHA-256 of each shard of a dataset, in order; raises DataError if one differs from dataset.json."""
    wanted = {shard["path"]: shard["sha256"] for shard in Dataset(dataset).description["shards"]}
    digests = {path: sha256_file(path) for path in shard_paths(dataset)}
    found = {path.relative_to(dataset).as_posix(): digest for path, digest in digests.items()}
    for name in sorted(wanted.keys() | found.keys()):
        if wanted.get(name) != found.get(name):
            state = "is missing" if name not in found else "is damaged: its hash is not the one in dataset.json"
            raise DataError(dataset / name, f"{dataset / name} {state}.", REPAIR_HELP)
    return digests


def dataset_digest(dataset: Path, *, head: bool = True) -> str:
    """Return the SHA-256 of a dataset's shards and (with `head`) head model; raises DataError for a damaged shard."""
    digests = shard_digests(dataset)
    if head:
        digests[Dataset(dataset).head] = sha256_file(Dataset(dataset).head)
    return _listing_digest(dataset, digests)


def subject_digests(shards: Iterable[Path]) -> dict[str, str]:
    """Return the SHA-256 of each subject's rows in Parquet shards with one row group per subject, by subject id.

    The digest is independent of the shard: the stored bytes of a row group contain no positions.
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
