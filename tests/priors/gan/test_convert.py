"""Checkpoints in the official layout: conversion without executing their content, rejection with a reason."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch

from headforge.errors import InputError
from headforge.pickles import ForbiddenNameError
from headforge.priors.gan.cameras import frontal_label
from headforge.priors.gan.convert import convert_gan, load_gan
from headforge.priors.gan.settings import KINDS
from tests.priors.gan.nets import Persistent, official_modules, small_facts, small_gan, write_checkpoint


@pytest.mark.parametrize("kind", KINDS)
def test_a_checkpoint_comes_back_whole(kind: str, tmp_path: Path) -> None:
    model, facts, path = small_gan(kind), small_facts(kind), tmp_path / "network.pkl"
    write_checkpoint(path, model, facts)
    tensors, found = convert_gan(path, kind)
    wanted = model.state_dict()
    assert tensors.keys() == wanted.keys()
    assert all(torch.equal(tensors[name], wanted[name]) for name in wanted)
    assert json.loads(json.dumps(found)) == found
    assert found["neural_rendering_resolution"] == facts["neural_rendering_resolution"]
    assert found["rendering_kwargs"] == facts["rendering_kwargs"]
    loaded = load_gan(tensors, found)
    z, label = torch.ones(1, 16), frontal_label(2.7, (0.0, 0.0, 0.0))
    assert loaded.settings == model.settings
    assert torch.equal(loaded.styles(z, label), model.styles(z, label))
    assert torch.equal(loaded.planes(torch.ones(1, 6, 24)), model.planes(torch.ones(1, 6, 24)))


def test_the_source_text_in_a_checkpoint_is_not_run(tmp_path: Path) -> None:
    mark = tmp_path / "ran"
    state: dict[str, Any] = {"_parameters": {}, "_buffers": {}, "_modules": {}, "_init_kwargs": {}}
    source = f"open({str(mark)!r}, 'w').close()"
    path = tmp_path / "network.pkl"
    with official_modules():
        path.write_bytes(pickle.dumps({"G_ema": Persistent("TriPlaneGenerator", state, source)}))
    with pytest.raises(InputError):
        convert_gan(path, "spherehead")
    assert not mark.exists()


def test_a_hostile_checkpoint_is_refused(tmp_path: Path) -> None:
    mark, path = tmp_path / "ran", tmp_path / "network.pkl"

    class Hostile:
        def __reduce__(self) -> Any:
            return Path.touch, (mark,)

    path.write_bytes(pickle.dumps({"G_ema": Hostile()}))
    with pytest.raises(ForbiddenNameError):
        convert_gan(path, "panohead")
    assert not mark.exists()


def _changed(tmp_path: Path, kind: str, **changes: Any) -> Path:
    path = tmp_path / "network.pkl"
    write_checkpoint(path, small_gan(kind), small_facts(kind), **changes)
    return path


def test_the_other_kind_is_named(tmp_path: Path) -> None:
    path = _changed(tmp_path, "panohead")
    with pytest.raises(InputError, match="checkpoint of panohead, not of spherehead") as caught:
        convert_gan(path, "spherehead")
    assert "assets add panohead" in caught.value.help


def test_missing_and_unknown_weights_are_named(tmp_path: Path) -> None:
    parameters = {"extra": torch.nn.Parameter(torch.zeros(1))}
    path = _changed(tmp_path, "panohead", _parameters=parameters)
    with pytest.raises(InputError, match="has unknown extra"):
        convert_gan(path, "panohead")
    path = _changed(tmp_path, "panohead", _modules={})
    with pytest.raises(InputError, match=r"lacks backbone\.mapping\.embed\.bias, .* and \d+ more"):
        convert_gan(path, "panohead")


def test_a_wrong_shape_is_named(tmp_path: Path) -> None:
    model = small_gan("panohead")
    model.decoder.net[0].weight = torch.nn.Parameter(torch.zeros(64, 31))
    path = tmp_path / "network.pkl"
    write_checkpoint(path, model, small_facts("panohead"))
    with pytest.raises(InputError, match=r"decoder\.net\.0\.weight .* \[64, 31\], .* \[64, 32\]"):
        convert_gan(path, "panohead")


def test_another_filter_and_broken_numbers_are_refused(tmp_path: Path) -> None:
    for name, value, said in (("resample_filter", 0.0, "another filter"), ("noise_const", float("nan"), "not finite")):
        model = small_gan("panohead")
        getattr(model.superresolution.block0.conv1, name)[0] = value
        path = tmp_path / "network.pkl"
        write_checkpoint(path, model, small_facts("panohead"))
        with pytest.raises(InputError, match=said):
            convert_gan(path, "panohead")


@pytest.mark.parametrize("content", [{"model": {}}, {"G_ema": {}}, [1, 2]])
def test_a_pickle_of_something_else_is_named(content: object, tmp_path: Path) -> None:
    path = tmp_path / "network.pkl"
    path.write_bytes(pickle.dumps(content))
    with pytest.raises(InputError, match="not a checkpoint of spherehead"):
        convert_gan(path, "spherehead")


def test_a_truncated_checkpoint_a_pointer_and_a_page_are_refused(tmp_path: Path) -> None:
    whole = _changed(tmp_path, "panohead").read_bytes()
    contents = {
        "ends": whole[: len(whole) // 2],
        "LFS": b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n",
        "web page": b"<!DOCTYPE html><html><body>404</body></html>",
    }
    for said, content in contents.items():
        path = tmp_path / f"{said}.pkl"
        path.write_bytes(content)
        with pytest.raises(InputError, match=said):
            convert_gan(path, "panohead")
