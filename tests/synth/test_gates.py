"""What the quality gate lets through."""

from __future__ import annotations

import numpy as np

from headforge.synth.gates import check_picture


def disc(radius: float, x: float = 32, y: float = 32) -> np.ndarray:
    rows, columns = np.mgrid[:64, :64] + 0.5
    return (np.hypot(columns - x, rows - y) < radius).astype(np.uint8) * 255


def test_a_head_in_the_middle_passes() -> None:
    gate, measured = check_picture(disc(20))
    assert gate is None
    assert abs(measured["mask_area"] - np.pi * 400 / 4096) < 0.01
    assert measured["border_touched"] == 0


def test_a_neck_may_run_out_at_the_bottom() -> None:
    mask = disc(20)
    mask[40:, 20:44] = 255
    assert check_picture(mask)[0] is None


def test_too_small_and_too_large() -> None:
    for mask in (disc(5), np.full((64, 64), 255, np.uint8), np.zeros((64, 64), np.uint8)):
        gate, _ = check_picture(mask)
        assert gate is not None and gate.name == "mask_area"
        assert "%" in gate.reason


def test_cut_off_at_each_side() -> None:
    for x, y in ((12, 32), (52, 32), (32, 12)):
        gate, _ = check_picture(disc(20, x, y))
        assert gate is not None and gate.name == "cut_off"
        assert gate.value > 0.01
