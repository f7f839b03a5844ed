"""Metrics are computed where the pictures are."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from headforge.errors import ConfigError
from headforge.metrics import image, perceptual
from headforge.metrics.config import EvaluateConfig
from headforge.metrics.evaluate import evaluate
from headforge.metrics.perceptual import PerceptualMini
from tests.devices import Call, check_complete, check_on_cpu, check_on_meta, parametrized


def pictures() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return torch.rand(2, 3, 24, 24, generator=generator), torch.rand(2, 3, 24, 24, generator=generator)


def masked() -> tuple[torch.Tensor, ...]:
    return (*pictures(), torch.ones(2, 24, 24, dtype=torch.bool))


CALLS = [
    *(Call(function, arguments) for function in (image.l1, image.psnr, image.ssim) for arguments in (pictures, masked)),
    Call(image.ssim_map, pictures),
    Call(PerceptualMini.__call__, lambda: (PerceptualMini(), *pictures())),
    Call(perceptual.gabor_bank, lambda: (), reason="constants, made on the CPU so that they are the same everywhere"),
]
OTHERS = {"metrics.perceptual.perceptual_protocol": "no tensors"}
runs_on_meta, all_calls = parametrized(CALLS)


@runs_on_meta
def test_on_meta(call: Call) -> None:
    check_on_meta(call)


@all_calls
def test_on_the_cpu_whatever_the_default_device_is(call: Call) -> None:
    check_on_cpu(call)


def test_no_entry_point_is_left_out() -> None:
    check_complete([c for c in CALLS if "PerceptualMini" not in c.name], OTHERS, (image, perceptual))


def test_evaluation_refuses_a_card_that_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    nowhere = tmp_path / "nowhere"
    with pytest.raises(ConfigError, match="torch sees no CUDA card here"):
        evaluate(EvaluateConfig(), *[nowhere] * 4, None, nowhere, models=(), methods=(), device="cuda")
    assert not nowhere.exists()
