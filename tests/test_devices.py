"""Naming a device, and moving what holds tensors."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from headforge.devices import require_cpu, resolve_device
from headforge.errors import ConfigError, DeviceError
from headforge.geometry.cameras import orbit_camera
from headforge.types import GaussianCloud, HeadParams
from tests.devices import META, tensors_in
from tests.heads import tiny_head


def with_cards(monkeypatch: pytest.MonkeyPatch, n: int) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: n > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: n)


@pytest.mark.parametrize(
    ("name", "n_cards", "found"),
    [("cpu", 0, "cpu"), ("cpu", 1, "cpu"), ("auto", 0, "cpu"), ("auto", 2, "cuda"), ("cuda", 1, "cuda"),
     ("cuda:1", 2, "cuda:1")],
)  # fmt: skip
def test_names(name: str, n_cards: int, found: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with_cards(monkeypatch, n_cards)
    assert resolve_device(name) == torch.device(found)


@pytest.mark.parametrize(
    ("name", "n_cards", "message", "help"),
    [
        ("cuda", 0, "fit.device is 'cuda', but torch sees no CUDA card here.", "set it to cpu or auto; on a machine"),
        ("cuda:2", 2, "fit.device is 'cuda:2', but this machine has 2 card(s).", "give cuda:0 to cuda:1."),
        ("gpu", 0, "there is no device 'gpu'.", "give one of auto, cpu, cuda"),
        ("meta", 0, "the device 'meta' is not supported.", "give one of auto, cpu, cuda"),
    ],
)
def test_names_that_are_refused(
    name: str, n_cards: int, message: str, help: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_cards(monkeypatch, n_cards)
    with pytest.raises(ConfigError) as error:
        resolve_device(name, "fit.device")
    assert (error.value.key, error.value.found) == ("fit.device", name)
    assert error.value.message == message
    assert error.value.help.startswith(help)


def test_a_tensor_elsewhere_is_named() -> None:
    require_cpu("drawing", a=torch.zeros(1))
    with pytest.raises(
        DeviceError, match=r"b is on the device meta; drawing needs it on cpu.\nhelp: pass b.to\('cpu'\)."
    ) as e:
        require_cpu("drawing", a=torch.zeros(1), b=torch.zeros(1, device="meta"))
    assert (e.value.name, e.value.expected, e.value.found) == ("b", "cpu", "meta")


def test_everything_inside_moves() -> None:
    head = dataclasses.replace(tiny_head(), pupil_faces=torch.tensor([1, 2]))
    camera = orbit_camera(0.0, 0.0, distance_m=1.0, focal_px=10.0, width=4, height=4)
    cloud = GaussianCloud(*(torch.zeros(2, size) for size in (3, 4, 3, 1, 3)))
    for value in (head, camera, head.neutral((2,)), cloud):
        found = list(tensors_in(value.to("meta")))
        assert len(found) == len(list(tensors_in(value)))
        assert all(tensor.device == META for tensor in found)
    assert head.to("meta").device == META
    assert set(head.to("meta").regions) == set(head.regions)
    assert HeadParams.neutral("a", 1, 1, device="meta").expr.device == META


def test_moving_to_where_it_is_copies_nothing() -> None:
    head = tiny_head()
    assert head.to("cpu").shapedirs is head.shapedirs
    assert head.neutral().to("cpu").expr.device == torch.device("cpu")
