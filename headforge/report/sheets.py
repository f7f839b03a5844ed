"""Sheets of pictures as one picture: contact sheets and labelled grids, for files and trackers that show images."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from headforge.report.blocks import Grid, Picture


@dataclass(frozen=True)
class SheetStyle:
    """Sizes in pixels and colours of a sheet."""

    cell: int = 128
    """Side of the square each picture is fitted into."""
    gap: int = 6
    """Between cells and around the sheet."""
    font_size: int = 13
    """Height of the labels."""
    background: tuple[int, int, int] = (255, 255, 255)
    """RGB behind the pictures."""
    ink: tuple[int, int, int] = (40, 42, 48)
    """RGB of the labels."""


DEFAULT_STYLE = SheetStyle()


def fit_into(image: np.ndarray, side: int) -> np.ndarray:
    """Return `image` [H, W, 3] uint8 scaled to touch a square of `side` pixels: bicubic when it grows, box when it
    shrinks.
    """
    height, width = image.shape[:2]
    scale = side / max(height, width)
    if scale == 1:
        return image
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    method = Image.Resampling.BICUBIC if scale > 1 else Image.Resampling.BOX
    return np.asarray(Image.fromarray(image).resize(size, method))


def contact_sheet(
    images: Sequence[np.ndarray],
    labels: Sequence[str] | None = None,
    columns: int = 8,
    style: SheetStyle = DEFAULT_STYLE,
) -> np.ndarray:
    """Return images [H, W, 3] uint8 in rows of `columns`, each with its label beneath, as [H', W', 3] uint8."""
    labels = labels if labels is not None else [""] * len(images)
    columns = max(1, min(columns, len(images)))
    n_rows = math.ceil(len(images) / columns)
    label_height = _line_height(style) if any(labels) else 0
    pitch_x, pitch_y = style.cell + style.gap, style.cell + label_height + style.gap
    sheet = Image.new("RGB", (columns * pitch_x + style.gap, max(n_rows, 1) * pitch_y + style.gap), style.background)
    draw = ImageDraw.Draw(sheet)
    for index, (image, label) in enumerate(zip(images, labels, strict=True)):
        x = style.gap + index % columns * pitch_x
        y = style.gap + index // columns * pitch_y
        _paste(sheet, image, x, y, style)
        if label:
            _centred(draw, label, x, y + style.cell, style)
    return np.asarray(sheet)


def labelled_grid(grid: Grid, style: SheetStyle = DEFAULT_STYLE) -> np.ndarray:
    """Render `grid` [H', W', 3] with column titles above, row labels at the left and each cell's note beneath it."""
    font = _font(style)
    margin = max((math.ceil(font.getlength(row.label)) for row in grid.rows), default=0)
    margin += style.gap if margin else 0
    header = _line_height(style)
    has_notes = any(cell is not None and cell.note for row in grid.rows for cell in row.cells)
    pitch_x, pitch_y = style.cell + style.gap, style.cell + style.gap + (_line_height(style) if has_notes else 0)
    width = style.gap + margin + len(grid.columns) * pitch_x
    sheet = Image.new("RGB", (width, style.gap + header + len(grid.rows) * pitch_y), style.background)
    draw = ImageDraw.Draw(sheet)
    for column, title in enumerate(grid.columns):
        _centred(draw, title, style.gap + margin + column * pitch_x, style.gap // 2, style)
    for index, row in enumerate(grid.rows):
        y = style.gap + header + index * pitch_y
        draw.text((style.gap, y + style.cell // 2), row.label, fill=style.ink, font=font, anchor="lm")
        for column, cell in enumerate(row.cells):
            x = style.gap + margin + column * pitch_x
            if cell is not None:
                _paste(sheet, cell.image, x, y, style)
                _centred(draw, cell.note, x, y + style.cell, style)
    return np.asarray(sheet)


def gallery_sheet(pictures: Sequence[Picture], columns: int = 8, style: SheetStyle = DEFAULT_STYLE) -> np.ndarray:
    """Return a contact sheet of pictures with their notes as labels."""
    return contact_sheet([p.image for p in pictures], [p.note for p in pictures], columns, style)


def _font(style: SheetStyle) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(style.font_size)


def _line_height(style: SheetStyle) -> int:
    return style.font_size + 6


def _paste(sheet: Image.Image, image: np.ndarray, x: int, y: int, style: SheetStyle) -> None:
    fitted = fit_into(image, style.cell)
    height, width = fitted.shape[:2]
    sheet.paste(Image.fromarray(fitted), (x + (style.cell - width) // 2, y + (style.cell - height) // 2))


def _centred(draw: ImageDraw.ImageDraw, text: str, x: int, y: int, style: SheetStyle) -> None:
    """Draw `text`, cut to the cell's width, in the line below (x, y)."""
    font = _font(style)
    while text and font.getlength(text) > style.cell:
        text = text[:-2] + "…" if len(text) > 2 else ""
    draw.text((x + style.cell // 2, y + _line_height(style) // 2), text, fill=style.ink, font=font, anchor="mm")
