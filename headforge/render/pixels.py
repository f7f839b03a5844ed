"""Lists of (box, pixel) pairs for the vectorised rasterizers."""

from __future__ import annotations

import torch
from torch import Tensor


def pixels_in_boxes(
    low: Tensor, high: Tensor, visible: Tensor, width: int, height: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Return every pixel whose centre lies in a box: box index, column and row, each [P] int64, ordered by box.

    low and high are the boxes' corners [N, 2] in pixels (x, y), visible [N] selects the boxes.
    """
    size = low.new_tensor([width, height])
    first = (low - 0.5).ceil().clamp_min(0).minimum(size).long()
    last = torch.maximum((high - 0.5).floor(), low.new_tensor(-1.0)).minimum(size - 1).long()
    extent = (last - first + 1).clamp_min(0) * visible[:, None]
    counts = extent[:, 0] * extent[:, 1]
    box = torch.repeat_interleave(counts)
    starts = counts.cumsum(0) - counts
    place = torch.arange(len(box), device=low.device) - starts[box]
    columns = extent[:, 0][box]
    row = torch.div(place, columns, rounding_mode="floor")
    return box, first[:, 0][box] + place - row * columns, first[:, 1][box] + row
