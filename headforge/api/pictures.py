"""Pictures: display and saving."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from headforge.errors import InputError, ShapeError
from headforge.report.sheets import SheetStyle, contact_sheet, fit_into
from headforge.store.files import write_bytes
from headforge.store.images import encode_png

LARGEST_CELL_PX, SMALLEST_CELL_PX = 512, 256
"""Pictures side by side are scaled to a common size between these."""


def show(
    images: np.ndarray | Sequence[np.ndarray],
    path: str | Path | None = None,
    *,
    labels: Sequence[str] | None = None,
    columns: int = 8,
    size: int | None = None,
) -> Image.Image:
    """Show one picture, or several side by side: a notebook displays what this returns. `path` also writes a PNG.

    `images` is [H, W, 3] or [H, W] uint8, or a list or array [n, ...] of those; rows have up to `columns` pictures of
    `size` pixels (default: that of the largest, from 256 to 512), with `labels` beneath. Raises ShapeError for other
    shapes or types, InputError for a path that is not a .png.
    """
    several = [images] if isinstance(images, np.ndarray) and _is_picture(images) else list(images)
    pictures = [_rgb(image) for image in several]
    largest = max((max(picture.shape[:2]) for picture in pictures), default=SMALLEST_CELL_PX)
    cell = size or min(max(largest, SMALLEST_CELL_PX), LARGEST_CELL_PX)
    if len(pictures) == 1 and not labels:
        sheet = fit_into(pictures[0], size or max(largest, SMALLEST_CELL_PX))
    else:
        sheet = contact_sheet(pictures, labels, columns, SheetStyle(cell=cell, font_size=max(13, cell // 18)))
    if path is not None:
        save_image(sheet, path)
    return Image.fromarray(sheet)


def save_image(image: np.ndarray, path: str | Path) -> Path:
    """Write [H, W], [H, W, 3] or [H, W, 4] uint8 as a PNG, whole or not at all; return the path.

    Raises ShapeError for other shapes or types, InputError for a path that is not a .png.
    """
    target = Path(path)
    if target.suffix.lower() != ".png":
        raise InputError(target, f"'{target}' is not the path of a PNG.", "give a path that ends in .png.")
    write_bytes(target, encode_png(image))
    return target


def _is_picture(image: np.ndarray) -> bool:
    return image.ndim == 2 or (image.ndim == 3 and image.shape[-1] == 3)


def _rgb(image: np.ndarray) -> np.ndarray:
    if image.dtype != np.uint8 or not _is_picture(image):
        raise ShapeError(f"image ({image.dtype})", "[H, W, 3] or [H, W] uint8", image.shape)
    return image if image.ndim == 3 else np.repeat(image[..., None], 3, axis=-1)
