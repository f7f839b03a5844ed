"""Quality gates: is a picture fit for the dataset? A function of the item alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

MIN_AREA, MAX_AREA = 0.12, 0.75
"""Allowed share of the picture that the head covers."""
MAX_BORDER = 0.01
"""Allowed share of the top, left and right border pixels that are covered; the neck runs out at the bottom."""
_COVERED = 8
"""Mask values from here on count as covered at the border."""


@dataclass(frozen=True)
class Gate:
    """What a gate found."""

    name: str
    reason: str
    """Empty if the item passed."""
    value: float


def check_picture(mask: np.ndarray) -> tuple[Gate | None, Mapping[str, float]]:
    """The first gate that a picture with the mask [H, W] uint8 fails, or None, and what was measured."""
    area = float(mask.mean()) / 255
    border = np.concatenate([mask[0], mask[:, 0], mask[:, -1]])
    touched = float((border >= _COVERED).mean())
    measured = {"mask_area": round(area, 6), "border_touched": round(touched, 6)}
    if not MIN_AREA <= area <= MAX_AREA:
        reason = f"the head covers {area:.1%} of the picture, allowed are {MIN_AREA:.0%} to {MAX_AREA:.0%}"
        return Gate("mask_area", reason, area), measured
    if touched > MAX_BORDER:
        return Gate("cut_off", f"the head is cut off at {touched:.1%} of the border's pixels", touched), measured
    return None, measured
