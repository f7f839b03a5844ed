"""Shards: write and read rates of Parquet, WebDataset and loose files, and the loader's share of decode speed.

    python benchmarks/shards.py [--json] [--out benchmarks/results/shards.json]

Containers hold the same encoded pictures and masks and the same values: pictures of the builtin generator at 256²,
repeated. Rates are views per second, the best of several runs, of one process and from the page cache;
every writer is timed until its files are flushed to disk. Reading a view in random order reads a whole row group of
Parquet; of the tar it uses an index of members made before, which WebDataset does not have.

Pure decode is `decode_image` over the pictures and masks of the same views in memory; it and the loader (one thread
decodes, one reads, started anew each time) take turns, and the share is that of their best rates.
`loader_cpu_share_of_decode` compares process CPU time, in which reading counts in full. webdataset is development-only;
without it tars are written and read by the project's exporter and tarfile, as `tar_package` says.
"""

from __future__ import annotations

import importlib.util
import json
import os
import sys
import tarfile
import tempfile
import time
from collections import deque
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.record import arguments, finish, machine_record, write
from headforge.store.dataset.columns import picture_values, write_row_groups
from headforge.store.dataset.loader import Loader, LoaderConfig
from headforge.store.dataset.shards import SHARD_SCHEMA, Dataset, write_dataset_json, write_shard
from headforge.store.exchange.formats.webdataset import write_webdataset
from headforge.store.exchange.rows import StoredView, plain_values, stored_views, view_name
from headforge.store.exchange.writing import ExportFacts
from headforge.store.files import fsync_file
from headforge.store.images import decode_image
from headforge.synth.config import SynthesizeConfig
from headforge.synth.synthesize import synthesize_subject

webdataset: Any = importlib.import_module("webdataset") if importlib.util.find_spec("webdataset") else None

Writer = Callable[[list[list[StoredView]], Path], None]
SEED = 0
SIZE_PX = 256
N_DISTINCT = 8
"""People rendered; the others show their pictures again."""
N_SUBJECTS, N_VIEWS = 24, 50
N_RANDOM = 200
N_RUNS, N_TURNS = 5, 4
N_LOADED = 2 * N_SUBJECTS * N_VIEWS
"""Views a run of the loader delivers: two epochs."""
WINDOW_SUBJECTS = 4
"""Small relative to the dataset, as for a large one: a run reads up to two windows that it does not use."""


def rendered(folder: Path) -> list[list[StoredView]]:
    """Render rows of N_SUBJECTS people with N_VIEWS views each, encoded."""
    config = SynthesizeConfig(seed=SEED, image_size=SIZE_PX, views_per_subject=6)
    people = [synthesize_subject(config, subject)[0] for subject in range(N_DISTINCT)]
    write_shard(folder / "shards" / "part-00000.parquet", people)
    write_dataset_json(folder, generator="builtin", params={}, licences={})
    dataset = Dataset(folder)
    pictures = [stored_views(dataset.table(name)) for name in dataset.subject_ids()]
    subjects = []
    for subject in range(N_SUBJECTS):
        rows = pictures[subject % len(pictures)]
        place = {"subject_id": f"{subject:06d}"}
        subjects.append([{**rows[view % len(rows)], **place, "view": view} for view in range(N_VIEWS)])
    return subjects


def write_parquet(subjects: list[list[StoredView]], folder: Path) -> None:
    """Write shards as the stage `synthesize` does, from encoded pictures."""
    path, keys = folder / "shards" / "part-00000.parquet", ("subject_id", "view", "split")
    write_row_groups(path, SHARD_SCHEMA, (shard_columns(rows) for rows in subjects), keys)


def shard_columns(rows: list[StoredView]) -> dict[str, object]:
    """Return a row group of a shard."""
    columns: dict[str, object] = {name: [row[name] for row in rows] for name in SHARD_SCHEMA.names}
    return columns | {name: picture_values([row[name] for row in rows]) for name in ("image", "mask")}


def write_tars(subjects: list[list[StoredView]], folder: Path) -> None:
    """Write one tar with webdataset's writer or the project's exporter."""
    path = folder / "train-000000.tar"
    if webdataset is None:
        rows = ([{**row, "split": "train"} for row in views] for views in subjects)
        write_webdataset(rows, ExportFacts({"licences": {}, "synthetic_media": True}), folder)
    else:
        with webdataset.TarWriter(str(path)) as writer:
            for row in (row for views in subjects for row in views):
                key = f"{row['subject_id']}_{view_name(row)}"
                writer.write({"__key__": key, "json": plain_values(row), "mask.png": row["mask"], "png": row["image"]})
    fsync_file(path)


def write_loose(subjects: list[list[StoredView]], folder: Path) -> None:
    """Write a folder per person, three files per view."""
    for rows in subjects:
        place = folder / rows[0]["subject_id"]
        place.mkdir()
        for row in rows:
            (place / f"{view_name(row)}.png").write_bytes(row["image"])
            (place / f"{view_name(row)}.mask.png").write_bytes(row["mask"])
            (place / f"{view_name(row)}.json").write_text(json.dumps(plain_values(row)))
    os.sync()


def parquet_sequential(folder: Path) -> int:
    """Read the pictures in stored order; return their bytes."""
    dataset = Dataset(folder)
    return sum(n_picture_bytes(stored_views(dataset.table(name))) for name in dataset.subject_ids())


def n_picture_bytes(rows: list[StoredView]) -> int:
    """Return the bytes of pictures and masks."""
    return sum(len(row["image"]) + len(row["mask"]) for row in rows)


def parquet_random(dataset: Dataset, keys: list[tuple[str, int]]) -> int:
    """Read single views, each with its whole row group."""
    return sum(n_picture_bytes(stored_views(dataset.table(name).slice(view, 1))) for name, view in keys)


def tar_sequential(folder: Path) -> int:
    """Read with the package webdataset, or tarfile without it."""
    path = folder / "train-000000.tar"
    if webdataset is None:
        with tarfile.open(path) as tar:
            files = (tar.extractfile(member) for member in tar)
            data = [file.read() for file in files if file]
        return sum(len(item) for item in data if item.startswith(b"\x89PNG"))
    samples = webdataset.WebDataset(str(path), shardshuffle=False)
    return sum(len(sample["png"]) + len(sample["mask.png"]) for sample in samples)


def tar_index(folder: Path) -> dict[str, tuple[int, int]]:
    """Return the offset and size of each member."""
    with tarfile.open(folder / "train-000000.tar") as tar:
        return {member.name: (member.offset_data, member.size) for member in tar}


def tar_random(folder: Path, index: dict[str, tuple[int, int]], keys: list[tuple[str, int]]) -> int:
    """Read single views by the index."""
    found = 0
    with (folder / "train-000000.tar").open("rb") as file:
        for name, view in keys:
            for ending in ("json", "png", "mask.png"):
                offset, size = index[f"{name}_{view:05d}.{ending}"]
                file.seek(offset)
                data = file.read(size)
                found += len(data) if ending != "json" else 0
    return found


def loose_read(folder: Path, keys: list[tuple[str, int]]) -> int:
    """Read single views."""
    found = 0
    for name, view in keys:
        place = folder / name / f"{view:05d}"
        found += len(place.with_suffix(".png").read_bytes()) + len(place.with_suffix(".mask.png").read_bytes())
        json.loads(place.with_suffix(".json").read_text())
    return found


def best_s(run: Callable[[], object], n_runs: int = N_RUNS) -> float:
    """Return wall seconds: the minimum after one warm-up run."""
    run()
    return min(timed(run)[0] for _ in range(n_runs))


def timed(run: Callable[[], object]) -> tuple[float, float]:
    """Return wall and process CPU seconds."""
    wall, cpu = time.perf_counter(), time.process_time()
    run()
    return time.perf_counter() - wall, time.process_time() - cpu


def write_s(writer: Writer, subjects: list[list[StoredView]]) -> float:
    """Return the least seconds to write everything into a new folder."""
    times = []
    for _ in range(3):
        with tempfile.TemporaryDirectory() as name:
            (Path(name) / "shards").mkdir()
            times.append(timed(lambda folder=Path(name): writer(subjects, folder))[0])
    return min(times)


def containers(subjects: list[list[StoredView]], root: Path) -> list[dict[str, object]]:
    """Measure one row per container."""
    rng = np.random.default_rng(SEED)
    names = [rows[0]["subject_id"] for rows in subjects]
    keys = [(names[int(s)], int(v)) for s, v in rng.integers((0, 0), (N_SUBJECTS, N_VIEWS), (N_RANDOM, 2))]
    everything = [(name, view) for name in names for view in range(N_VIEWS)]
    one = [(names[7], view) for view in range(N_VIEWS)]
    n_bytes = sum(n_picture_bytes(rows) for rows in subjects)
    writers = {"parquet": write_parquet, "webdataset": write_tars, "loose files": write_loose}
    for name, writer in writers.items():
        (root / name / "shards").mkdir(parents=True)
        writer(subjects, root / name)
    write_dataset_json(root / "parquet", generator="builtin", params={}, licences={})
    dataset, index = Dataset(root / "parquet"), tar_index(root / "webdataset")
    tars, loose = root / "webdataset", root / "loose files"
    readers: dict[str, tuple[Callable[[], int], Callable[[], int], Callable[[], int]]] = {
        "parquet": (
            lambda: parquet_sequential(root / "parquet"),
            lambda: parquet_random(dataset, keys),
            lambda: n_picture_bytes(stored_views(dataset.table(names[7]))),
        ),
        "webdataset": (
            lambda: tar_sequential(tars),
            lambda: tar_random(tars, index, keys),
            lambda: tar_random(tars, index, one),
        ),
        "loose files": (
            lambda: loose_read(loose, everything),
            lambda: loose_read(loose, keys),
            lambda: loose_read(loose, one),
        ),
    }
    rows: list[dict[str, object]] = []
    for name, (sequential, random, subject) in readers.items():
        if sequential() != n_bytes:
            raise AssertionError(f"{name} did not read what was written")
        rows.append(
            {
                "container": name,
                "write_per_s": len(everything) / write_s(writers[name], subjects),
                "sequential_per_s": len(everything) / best_s(sequential),
                "random_per_s": N_RANDOM / best_s(random),
                "one_subject_ms": 1e3 * best_s(subject),
            }
        )
    return rows


def loader_share(dataset: Dataset) -> dict[str, float]:
    """Measure the rates of decoding alone and of the loader, in turns."""
    encoded = [row for name in dataset.subject_ids() for row in stored_views(dataset.table(name))]
    loader = Loader(dataset, LoaderConfig(seed=SEED, window_subjects=WINDOW_SUBJECTS))
    n_batches = N_LOADED // loader.config.batch_size

    def decode() -> None:
        for row in (*encoded, *encoded):
            decode_image(row["image"])
            decode_image(row["mask"])

    def loaded() -> tuple[float, float]:
        """Run the loader from the first read to the delivery of the last batch."""
        batches = loader.batches()
        spent = timed(lambda: deque(islice(batches, n_batches), maxlen=0))
        batches.close()
        return spent

    timed(decode)
    loaded()
    turns = [(timed(decode), loaded()) for _ in range(N_TURNS)]
    decode_wall, load_wall = (min(turn[i][0] for turn in turns) for i in (0, 1))
    decode_cpu, load_cpu = (min(turn[i][1] for turn in turns) for i in (0, 1))
    return {
        "decode_per_s": N_LOADED / decode_wall,
        "loader_per_s": N_LOADED / load_wall,
        "loader_share_of_decode": decode_wall / load_wall,
        "loader_cpu_share_of_decode": decode_cpu / load_cpu,
    }


def main() -> None:
    """Run both tables."""
    options = arguments(__doc__).parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        subjects = rendered(root / "rendered")
        rows = containers(subjects, root)
        for row in rows:
            write("  ".join(f"{k} {v:,.1f}" if isinstance(v, float) else f"{k} {v}" for k, v in row.items()))
        shares = loader_share(Dataset(root / "parquet"))
    by_name = {str(row["container"]): row for row in rows}
    result = {
        **shares,
        **{f"{kind.replace(' ', '_')}_{key}": by_name[kind][key] for kind in by_name for key in list(rows[0])[1:]},
        "tar_package": "webdataset" if webdataset else "tarfile",
        "n_views": N_SUBJECTS * N_VIEWS,
        "n_distinct_views": sum(len({row["image"] for row in views}) for views in subjects[:N_DISTINCT]),
        "mean_bytes_per_view": sum(n_picture_bytes(views) for views in subjects) / (N_SUBJECTS * N_VIEWS),
        **machine_record(seeds=[SEED]),
        "clock": "wall, minimum of several",
        "rows": rows,
    }
    finish(result, options)


if __name__ == "__main__":
    main()
