"""What the quality gates let through."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from scipy import ndimage

from headforge.flame.model import HeadModel, landmarks, pose_head
from headforge.geometry.cameras import focal_px_from_fov, orbit_camera, project
from headforge.synth.config import SynthesizeConfig
from headforge.synth.gates import (
    angle_from_front_deg,
    check_detector,
    check_landmarks,
    check_picture,
    check_view,
    detector_error,
    sharpness,
)
from headforge.types import HeadParams, Sample
from tests.heads import tiny_head

CONFIG = SynthesizeConfig()


def disc(radius: float, x: float = 32, y: float = 32, size: int = 64) -> np.ndarray:
    rows, columns = np.mgrid[:size, :size] + 0.5
    return (np.hypot(columns - x, rows - y) < radius).astype(np.uint8) * 255


def view(head: HeadModel, yaw_deg: float = 0.0, turn_rad: float = 0.0, pitch_deg: float = 0.0) -> Sample:
    """A gray disc with the exact camera and parameters of the test head."""
    camera = orbit_camera(yaw_deg, pitch_deg, distance_m=0.92, focal_px=focal_px_from_fov(22, 64), width=64, height=64)
    params = head.neutral().replace(rotation=torch.tensor([0.0, turn_rad, 0.0]))
    image = np.full((64, 64, 3), 120, np.uint8)
    return Sample("000000", 0, "train", "synthetic", 0, image, disc(20), camera, params, yaw_deg, pitch_deg)


def exact_landmarks(head: HeadModel, sample: Sample) -> np.ndarray:
    batched = dataclasses.replace(
        sample.params, **{name: value[None] for name, value in sample.params.tensors().items()}
    )
    return project(sample.camera, landmarks(head, pose_head(head, batched))[0])[0].double().numpy()


def test_a_head_in_the_middle_passes() -> None:
    gate, measured = check_picture(disc(20), CONFIG)
    assert gate is None
    assert abs(measured["mask_area"] - np.pi * 400 / 4096) < 0.01
    assert measured["border_touched"] == 0


def test_a_neck_may_run_out_at_the_bottom() -> None:
    mask = disc(20)
    mask[40:, 20:44] = 255
    assert check_picture(mask, CONFIG)[0] is None


def test_too_small_and_too_large() -> None:
    for mask in (disc(5), np.full((64, 64), 255, np.uint8), np.zeros((64, 64), np.uint8)):
        gate, _ = check_picture(mask, CONFIG)
        assert gate is not None and gate.name == "mask_area"
        assert "%" in gate.reason


def test_cut_off_at_each_side() -> None:
    for x, y in ((12, 32), (52, 32), (32, 12)):
        gate, _ = check_picture(disc(20, x, y), CONFIG)
        assert gate is not None and gate.name == "cut_off"
        assert gate.value is not None and gate.value > 0.01


def test_limits_are_settings() -> None:
    assert check_picture(disc(5), dataclasses.replace(CONFIG, gate_min_area=0.01))[0] is None
    assert check_picture(disc(20, 12), dataclasses.replace(CONFIG, gate_max_border=0.5))[0] is None
    assert check_picture(disc(20), dataclasses.replace(CONFIG, gate_max_area=0.2))[0] is not None


def textured(size: int) -> np.ndarray:
    """Stripes and dots of a fixed size in the scene."""
    rows, columns = (np.mgrid[:size, :size] + 0.5) / size
    values = 128 + 50 * np.sin(2 * np.pi * 16 * columns) * np.sin(2 * np.pi * 12 * rows)
    return np.repeat(values[..., None], 3, axis=-1).round().astype(np.uint8)


def test_sharpness_does_not_depend_on_the_resolution() -> None:
    found = [sharpness(textured(size), disc(0.4 * size, size / 2, size / 2, size)) for size in (96, 128, 256, 512)]
    assert max(found) < 1.03 * min(found)


def test_blurring_lowers_the_sharpness() -> None:
    mask = disc(40, 64, 64, 128)
    pictures = [ndimage.gaussian_filter(textured(128), (sigma, sigma, 0)) for sigma in (0, 1, 2, 3)]
    found = [sharpness(picture, mask) for picture in pictures]
    assert found == sorted(found, reverse=True)
    assert found[3] < 0.4 * found[0]


def test_the_outline_does_not_count_as_sharp() -> None:
    image = np.full((128, 128, 3), 255, np.uint8)
    mask = disc(40, 64, 64, 128)
    image[mask > 0] = 60
    assert sharpness(image, mask) < 0.2
    assert sharpness(image, np.zeros((128, 128), np.uint8)) == 0


def test_values_are_added_only_by_gates_that_are_on() -> None:
    head = tiny_head()
    sample = view(head)
    gate, measured = check_view(CONFIG, sample, head)
    assert gate is None and set(measured) == {"mask_area", "border_touched"}
    gate, measured = check_view(dataclasses.replace(CONFIG, gate_min_sharpness=5.0), sample, head)
    assert gate is not None and gate.name == "blur" and gate.value == measured["sharpness"] == 0
    gate, measured = check_view(dataclasses.replace(CONFIG, gate_min_landmarks=30), sample, head)
    assert gate is None and measured["landmarks_seen"] > 50


def test_landmarks_go_out_of_sight_with_the_angle() -> None:
    head = tiny_head()
    seen = []
    for yaw_deg in (0.0, 60.0, 110.0, 180.0):
        sample = view(head, yaw_deg)
        seen.append(check_landmarks(head, sample.params, sample.camera, 20)[1]["landmarks_seen"])
    assert seen == sorted(seen, reverse=True) and seen[-1] == 0
    gate, _ = check_landmarks(head, view(head).params, view(head, 180.0).camera, 20)
    assert gate is not None and gate.name == "landmarks" and gate.value == 0 and "68" in gate.reason


@pytest.mark.parametrize(("yaw_deg", "turn_deg", "pitch_deg"), [(20.0, 0.0, 0.0), (0.0, -35.0, 0.0), (40.0, 40.0, 0.0)])
def test_the_angle_from_the_front_counts_the_turned_head(yaw_deg: float, turn_deg: float, pitch_deg: float) -> None:
    sample = view(tiny_head(), yaw_deg, math.radians(turn_deg), pitch_deg)
    assert angle_from_front_deg(sample.params, sample.camera) == pytest.approx(abs(yaw_deg - turn_deg), abs=0.05)


def test_the_detector_must_agree_near_the_front_only() -> None:
    head = tiny_head()
    sample = view(head, 10.0)
    exact = exact_landmarks(head, sample)
    width = float(np.linalg.norm(exact[36] - exact[45]))

    def moved(by_widths: float) -> list[np.ndarray]:
        return [exact + np.array([by_widths * width, 0.0])]

    def check(faces: Sequence[np.ndarray], yaw_deg: float = 10.0) -> tuple[str, float | None]:
        gate, _ = check_detector(CONFIG, view(head, yaw_deg), head, lambda image: faces)
        return (gate.name, gate.value) if gate is not None else ("", None)

    assert check(moved(0.05)) == ("", None)
    assert check([*moved(3.0), *moved(0.01)]) == ("", None), "the nearest face counts"
    name, value = check(moved(0.3))
    assert name == "detector" and value == pytest.approx(0.3, rel=1e-3)
    assert check([]) == ("detector", None)
    assert check([], yaw_deg=50.0) == ("", None), "a detector for frontal faces is not asked about profiles"


def test_the_detectors_error_ignores_the_jaw_line() -> None:
    exact = exact_landmarks(tiny_head(), view(tiny_head()))
    found = exact.copy()
    found[:17] += 100
    assert detector_error(exact, found) == 0


def test_a_gate_that_failed_spares_the_dearer_ones() -> None:
    head = tiny_head()

    def detector(image: np.ndarray) -> Sequence[np.ndarray]:
        raise AssertionError("asked about a picture that was rejected already")

    small = dataclasses.replace(view(head), mask=disc(3))
    gate, _ = check_view(CONFIG, small, head, detector)
    assert gate is not None and gate.name == "mask_area"


def test_of_an_unknown_head_the_detector_only_has_to_find_a_face() -> None:
    def check(faces: Sequence[np.ndarray], yaw_deg: float) -> tuple[str, dict[str, float]]:
        sample = dataclasses.replace(view(tiny_head(), yaw_deg), params=HeadParams.unknown())
        gate, measured = check_view(CONFIG, sample, tiny_head(), lambda image: faces)
        return ("" if gate is None else gate.name), dict(measured)

    anywhere = [np.zeros((68, 2))]
    assert check(anywhere, 10.0)[0] == "" and set(check(anywhere, 10.0)[1]) == {"mask_area", "border_touched"}
    assert check([], 29.0)[0] == "detector"
    assert check([], 31.0)[0] == "", "it is not asked about profiles"
