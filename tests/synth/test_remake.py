"""A view made again from dataset.json alone equals the stored one, and what can't be made again says why."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from headforge.errors import InputError, Rejected
from headforge.store.dataset.shards import Dataset
from headforge.store.dataset.tables import Reject, write_rejects
from headforge.synth.config import SynthesizeConfig
from headforge.synth.remake import compare_views, remake_view
from headforge.synth.synthesize import assemble_dataset, synthesize_shard

CONFIG = SynthesizeConfig(seed=5, n_subjects=2, views_per_subject=2, image_size=32, subjects_per_shard=2)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("remake")
    synthesize_shard(CONFIG, range(2), root / "shard")
    assemble_dataset(CONFIG, [root / "shard"], root / "data")
    write_rejects(root / "data" / "rejects.parquet", [Reject("000001/9", "cut_off", "the head is cut off", 0.5)])
    return root / "data"


def test_remade_view_is_equal_bit_for_bit(folder: Path) -> None:
    dataset = Dataset(folder)
    found = compare_views(remake_view(dataset, 1, 1), dataset.sample("000001", 1))
    assert (found.differing, found.is_equal, found.max_levels, found.max_parameter) == ((), True, 0, 0.0)


def test_every_difference_is_named(folder: Path) -> None:
    stored = Dataset(folder).sample("000000", 0)
    image = stored.image.copy()
    image[3, 4, 1] ^= 64
    params = stored.params.replace(jaw=stored.params.jaw + 0.5)
    other = dataclasses.replace(stored, image=image, params=params, seed=stored.seed + 1)
    found = compare_views(other, stored)
    assert set(found.differing) == {"image", "jaw", "seed"}
    assert (found.max_levels, found.max_parameter) == (64, 0.5)
    assert not found.is_close
    small = compare_views(dataclasses.replace(stored, image=image), stored)
    assert not small.is_equal and small.is_close


def test_picture_of_another_size_is_no_match(folder: Path) -> None:
    stored = Dataset(folder).sample("000000", 0)
    small = dataclasses.replace(stored, image=np.zeros((2, 2, 3), np.uint8))
    assert not compare_views(small, stored).is_close


def test_rejected_view_says_by_which_gate(folder: Path) -> None:
    with pytest.raises(Rejected) as caught:
        remake_view(Dataset(folder), 1, 9)
    assert (caught.value.gate, caught.value.value) == ("cut_off", 0.5)


@pytest.mark.parametrize(("subject", "view", "said"), [(7, 0, "000000, 000001"), (0, 5, "views 0, 1")])
def test_unknown_view_says_what_there_is(folder: Path, subject: int, view: int, said: str) -> None:
    with pytest.raises(InputError) as caught:
        remake_view(Dataset(folder), subject, view)
    assert said in caught.value.help


@pytest.mark.parametrize("params", [{}, {"seed": 0, "latent_z": 3}, {"seed": 0, "generator": "stylegan"}])
def test_dataset_of_another_generator_is_refused(folder: Path, tmp_path: Path, params: dict[str, object]) -> None:
    other = tmp_path / "other"
    other.mkdir()
    for path in folder.iterdir():
        (other / path.name).symlink_to(path)
    (other / "dataset.json").unlink()
    description = json.loads((folder / "dataset.json").read_text())
    (other / "dataset.json").write_text(json.dumps(description | {"params": params}))
    with pytest.raises(InputError, match="was not made by"):
        remake_view(Dataset(other), 0, 0)
