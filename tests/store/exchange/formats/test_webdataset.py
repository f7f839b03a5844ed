from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from headforge.geometry.cameras import camera_to_eg3d
from headforge.store.dataset.shards import Dataset
from headforge.store.exchange.export import export_dataset
from headforge.store.exchange.formats.webdataset import write_webdataset
from headforge.store.exchange.rows import stored_views
from headforge.store.exchange.writing import ExportFacts
from headforge.store.files import sha256_file
from tests.store.rows import sample


def test_members_are_sorted_and_hold_the_row(dataset: Dataset, tmp_path: Path) -> None:
    export_dataset(dataset, "webdataset", tmp_path / "out")
    with tarfile.open(tmp_path / "out" / "train-000000.tar") as tar:
        names = tar.getnames()
        members = {member.name: member for member in tar.getmembers()}
        text, image, mask = (tar.extractfile(f"000002_00001.{end}") for end in ("json", "png", "mask.png"))
        assert text is not None and image is not None and mask is not None
        values, expected = json.loads(text.read()), sample(2, 1)
        np.testing.assert_array_equal(np.array(Image.open(image)), expected.image)
        np.testing.assert_array_equal(np.array(Image.open(mask)), expected.mask)
    assert names == sorted(names)
    assert len(names) == 4 * 3 * 3
    assert {(m.mtime, m.uid, m.uname) for m in members.values()} == {(0, 0, "")}
    torch.testing.assert_close(torch.tensor(values["camera_eg3d"]), camera_to_eg3d(expected.camera))
    torch.testing.assert_close(torch.tensor(values["params"]["eyes"]), expected.params.eyes, atol=0, rtol=0)
    assert (values["subject_id"], values["view"], values["split"], values["source"]) == (
        "000002",
        1,
        "train",
        "synthetic",
    )
    assert values["attributes"] == expected.attributes


def test_the_index_counts_and_hashes(dataset: Dataset, tmp_path: Path) -> None:
    export_dataset(dataset, "webdataset", tmp_path / "out")
    index = json.loads((tmp_path / "out" / "index.json").read_text())
    assert {shard["url"]: (shard["split"], shard["nsamples"]) for shard in index["shardlist"]} == {
        "test-000000.tar": ("test", 6),
        "train-000000.tar": ("train", 12),
    }
    for shard in index["shardlist"]:
        assert shard["sha256"] == sha256_file(tmp_path / "out" / shard["url"])
        assert shard["filesize"] == (tmp_path / "out" / shard["url"]).stat().st_size


def test_a_full_tar_is_followed_by_another_and_a_subject_is_in_one(dataset: Dataset, tmp_path: Path) -> None:
    subjects = (stored_views(dataset.table(name)) for name in dataset.subject_ids("train"))
    facts = ExportFacts({"licences": {}, "synthetic_media": True})
    write_webdataset(subjects, facts, tmp_path, max_tar_bytes=40_000)
    held = []
    for path in sorted(tmp_path.glob("*.tar")):
        with tarfile.open(path) as tar:
            held.append({name.partition("_")[0] for name in tar.getnames()})
        assert path.stat().st_size <= 40_000 + tarfile.RECORDSIZE
    assert len(held) > 1
    assert sorted(name for names in held for name in names) == dataset.subject_ids("train")


def test_webdataset_reads_it(dataset: Dataset, tmp_path: Path) -> None:
    wds = pytest.importorskip("webdataset")
    export_dataset(dataset, "webdataset", tmp_path / "out")
    samples = list(wds.WebDataset(str(tmp_path / "out" / "train-000000.tar"), shardshuffle=False))
    assert [s["__key__"] for s in samples][:2] == ["000001_00000", "000001_00001"]
    np.testing.assert_array_equal(np.array(Image.open(io.BytesIO(samples[1]["png"]))), sample(1, 1).image)
    assert {"json", "mask.png", "png"} <= set(samples[0])
