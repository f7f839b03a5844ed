"""Small dataset rows for the store's tests."""

from __future__ import annotations

import numpy as np
import torch

from headforge.geometry.cameras import orbit_camera
from headforge.geometry.seeding import item_seed
from headforge.types import HeadParams, Sample, Track

N_SHAPE, N_EXPR = 5, 3


def params(*parts: str | int) -> HeadParams:
    generator = torch.Generator().manual_seed(item_seed(0, *parts))
    neutral = HeadParams.neutral("tiny-test-head", N_SHAPE, N_EXPR)
    return neutral.replace(
        **{name: torch.randn(value.shape, generator=generator) for name, value in neutral.tensors().items()}
    )


def sample(subject: int, view: int, size: int = 16, split: str = "train") -> Sample:
    rng = np.random.default_rng(item_seed(1, subject, view))
    camera = orbit_camera(10.0 * view, 5.0, distance_m=1.0, focal_px=40.0 + view / 3, width=size, height=size)
    return Sample(
        subject_id=f"{subject:06d}",
        view=view,
        split=split,
        source="synthetic",
        seed=item_seed(2, subject, view),
        image=rng.integers(0, 256, (size, size, 3), dtype=np.uint8),
        mask=rng.integers(0, 256, (size, size), dtype=np.uint8),
        camera=camera,
        params=params(subject, view),
        yaw_deg=10.0 * view + 1 / 3,
        pitch_deg=5.0,
        quality={"coverage": 0.1 + view, "blur": 1 / 3},
        attributes={"hair": "long" if subject % 2 else "bald"},
    )


def subjects(ids: range, n_views: int = 3) -> list[list[Sample]]:
    return [[sample(s, v, split="test" if s % 3 == 0 else "train") for v in range(n_views)] for s in ids]


def track(subject: int, view: int, status: str = "ok") -> Track:
    found = sample(subject, view)
    bad = status != "ok"
    return Track(
        subject_id=found.subject_id,
        view=view,
        status=status,
        reason="too few landmarks" if bad else "",
        camera=found.camera,
        params=found.params,
        residual_px=float("nan") if bad else 0.25 + view,
        n_landmarks=0 if bad else 68 - view,
    )


def assert_same_sample(found: Sample, expected: Sample) -> None:
    for name in ("subject_id", "view", "split", "source", "seed", "yaw_deg", "pitch_deg", "quality", "attributes"):
        assert getattr(found, name) == getattr(expected, name), name
    np.testing.assert_array_equal(found.image, expected.image)
    np.testing.assert_array_equal(found.mask, expected.mask)
    assert torch.equal(found.camera.K, expected.camera.K)
    assert torch.equal(found.camera.viewmat, expected.camera.viewmat)
    assert (found.camera.width, found.camera.height) == (expected.camera.width, expected.camera.height)
    assert_same_params(found.params, expected.params)


def assert_same_params(found: HeadParams, expected: HeadParams) -> None:
    assert found.model_id == expected.model_id
    for name, value in expected.tensors().items():
        assert torch.equal(getattr(found, name), value), name
