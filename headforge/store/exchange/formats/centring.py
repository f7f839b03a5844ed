"""Pictures padded to a centred principal point, for readers that assume one."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from headforge.errors import DataError
from headforge.store.exchange.rows import StoredView, stored_camera
from headforge.store.images import decode_image
from headforge.types import Camera

MAX_OFFSET_PX = 0.25
"""Largest remaining offset: padding by whole pixels moves the middle by half pixels."""
MAX_ASPECT_ERROR = 1e-3
"""Largest relative difference of fx and fy that counts as square pixels."""
WHITE = 255


@dataclass(frozen=True)
class CentredView:
    """A view on white with the principal point in the middle, up to `MAX_OFFSET_PX`."""

    image: np.ndarray
    """[H, W, 3] uint8."""
    mask: np.ndarray
    """[H, W] uint8."""
    camera: Camera


def centred_view(row: StoredView) -> CentredView:
    """Composite the row's picture on white and pad it. Raises DataError if the camera can't be centred by padding."""
    camera = stored_camera(row)
    _require_plain_pinhole(row, camera)
    left, right = _padding(float(camera.K[0, 2]), camera.width)
    top, bottom = _padding(float(camera.K[1, 2]), camera.height)
    image, mask = decode_image(row["image"]), decode_image(row["mask"])
    alpha = mask[..., None].astype(np.float32) / 255
    white = np.floor(image * alpha + WHITE * (1 - alpha) + 0.5).astype(np.uint8)
    K = camera.K + torch.tensor([[0.0, 0.0, left], [0.0, 0.0, top], [0.0, 0.0, 0.0]], dtype=camera.K.dtype)
    return CentredView(
        np.pad(white, ((top, bottom), (left, right), (0, 0)), constant_values=WHITE),
        np.pad(mask, ((top, bottom), (left, right))),
        Camera(K, camera.viewmat, camera.width + left + right, camera.height + top + bottom),
    )


def _padding(principal_px: float, size: int) -> tuple[int, int]:
    """Return the pixels to add before and after."""
    offset = size / 2 - principal_px
    if abs(offset) <= MAX_OFFSET_PX:
        return 0, 0
    n = round(2 * offset)
    return max(0, n), max(0, -n)


def _require_plain_pinhole(row: StoredView, camera: Camera) -> None:
    (fx, skew, cx), (below, fy, cy), _ = camera.K.tolist()
    reason = ""
    if skew or below:
        reason = f"a camera with skew ({skew})"
    elif abs(fx / fy - 1) > MAX_ASPECT_ERROR:
        reason = f"a camera whose pixels are not square (fx {fx:.2f}, fy {fy:.2f})"
    elif not (0 < cx < camera.width and 0 < cy < camera.height):
        reason = f"a principal point ({cx:.1f}, {cy:.1f}) outside the picture"
    if reason:
        item = f"{row['subject_id']}/{row['view']}"
        raise DataError(item, f"{item} has {reason}, which this format can't represent.",
                        "undistort and resample the pictures first, or export to eg3d, which holds any K.")  # fmt: skip
