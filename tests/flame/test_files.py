"""Head models on disk."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from headforge.errors import DataError, InputError
from headforge.flame.builtin.head import builtin_head
from headforge.flame.files import head_digest, load_head, save_head
from headforge.flame.model import HeadModel
from tests.heads import tiny_head


@pytest.mark.parametrize("make", [tiny_head, builtin_head])
def test_round_trip(tmp_path: Path, make: object) -> None:
    model: HeadModel = make()  # type: ignore[operator]
    path = tmp_path / "head.safetensors"
    save_head(model, path)
    again = load_head(path)
    for field in dataclasses.fields(HeadModel):
        a, b = getattr(model, field.name), getattr(again, field.name)
        if isinstance(a, torch.Tensor):
            assert a.dtype == b.dtype and torch.equal(a, b), field.name
        elif field.name == "regions":
            assert set(a) == set(b) and all(torch.equal(a[k], b[k]) for k in a)
        else:
            assert a == b, field.name
    assert head_digest(again) == head_digest(model)


def test_bytes_depend_on_the_model_only(tmp_path: Path) -> None:
    for name in ("a", "b"):
        save_head(tiny_head(), tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_digest_sees_every_part() -> None:
    model = tiny_head()
    changed = [
        dataclasses.replace(model, v_template=model.v_template + torch.eye(3)[0] * 1e-6),
        dataclasses.replace(model, model_id="another"),
        dataclasses.replace(model, n_shape=model.n_shape - 1),
        dataclasses.replace(model, regions={}),
        dataclasses.replace(model, expression_names=("a",)),
    ]
    digests = {head_digest(m) for m in [model, *changed]}
    assert len(digests) == 6


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no head model"):
        load_head(tmp_path / "none.safetensors")


def test_not_a_head_model(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    path.write_text("hello")
    with pytest.raises(DataError, match="is not readable safetensors"):
        load_head(path)
    save_file({"a": torch.zeros(1)}, path)
    with pytest.raises(DataError, match="not a head model"):
        load_head(path)


def test_truncated_file(tmp_path: Path) -> None:
    path = tmp_path / "head.safetensors"
    save_head(tiny_head(), path)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(DataError, match="is not readable safetensors"):
        load_head(path)
