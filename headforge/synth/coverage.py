"""Coverage of a dataset: view counts by direction, expression, group of people and split."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import torch

from headforge.flame.model import HeadModel
from headforge.store.dataset.coverage import Cell
from headforge.types import NO_HEAD_MODEL, HeadParams, Sample

BIN_DEG = 15
"""Width of a direction bin."""
MOUTH_OPEN_RAD = 0.12
"""Jaws opened further count as an open mouth."""
EYES_SHUT = 0.5
"""Lids closed further count as shut eyes."""
SHOWN = 0.4
"""Least strength at which a named expression counts."""
GROUPS: Mapping[str, tuple[str, ...]] = {
    "smile": ("smile", "smile_left"),
    "frown": ("frown", "sneer", "brow_down"),
    "raised brows": ("brow_up", "eyes_wide"),
    "lips": ("mouth_pucker", "mouth_wide", "lips_open", "lip_press", "mouth_left", "cheek_puff"),
}
"""Names of expressions by class."""
STRONG_RMS = 0.5
"""For unnamed expressions: root mean square of the coefficients above which a face is not neutral."""


def count_views(head: HeadModel, samples: Iterable[Sample], cluster: int) -> list[Cell]:
    """Count the views of one person of the group `cluster`."""
    counts: Counter[tuple[int, int, str, int, str]] = Counter()
    for sample in samples:
        expression = expression_class(head, sample.params)
        counts[bin_of(sample.yaw_deg), bin_of(sample.pitch_deg), expression, cluster, sample.split] += 1
    return _sorted_cells(counts)


def add_cells(parts: Iterable[Sequence[Cell]]) -> list[Cell]:
    """Add up the counts of several parts of a dataset."""
    counts: Counter[tuple[int, int, str, int, str]] = Counter()
    for cell in (cell for part in parts for cell in part):
        counts[cell.yaw_deg, cell.pitch_deg, cell.expression, cell.cluster, cell.split] += cell.n_views
    return _sorted_cells(counts)


def bin_of(angle_deg: float) -> int:
    """Return the lower edge in degrees of the bin of an angle."""
    return math.floor(angle_deg / BIN_DEG) * BIN_DEG


def expression_class(head: HeadModel, params: HeadParams) -> str:
    """Return the dominant expression class of unbatched parameters; "unknown" if there are none."""
    if params.model_id == NO_HEAD_MODEL:
        return "unknown"
    if float(params.jaw[0]) > MOUTH_OPEN_RAD:
        return "mouth open"
    values = dict(zip(head.expression_names, params.expr.tolist(), strict=False))
    if not values:
        return "expressive" if float(torch.sqrt((params.expr**2).mean())) > STRONG_RMS else "neutral"
    if min(values.get("blink_left", 0.0), values.get("blink_right", 0.0)) > EYES_SHUT:
        return "eyes shut"
    strongest = {group: max(values.get(name, 0.0) for name in names) for group, names in GROUPS.items()}
    best = max(strongest, key=lambda group: strongest[group])
    return best if strongest[best] > SHOWN else "neutral"


def _sorted_cells(counts: Mapping[tuple[int, int, str, int, str], int]) -> list[Cell]:
    return [Cell(*key, n_views=counts[key]) for key in sorted(counts)]
