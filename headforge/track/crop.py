"""Square head crops of photos and the mapping back to photo pixels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch.nn.functional import interpolate

EYE_DISTANCE_M = 0.092
"""Distance between the outer eye corners of an average adult."""
EYE_TO_MOUTH_M = 0.075
"""Distance from the midpoint of the outer eye corners to the midpoint of the mouth corners."""
CROP_SIDE_M = 0.36
"""World length that a crop spans in the plane of the head, so that a head fills about two thirds of its height."""
HEAD_CENTRE_BELOW_EYES_M = 0.02
PADDING = 255
"""White, used outside the photo."""
OUTER_EYES = (36, 45)
MOUTH_CORNERS = (48, 54)


@dataclass(frozen=True)
class HeadCrop:
    """A square of the photo, resized: crop pixel = (photo pixel - (left, top)) * size / side."""

    left: int
    top: int
    side: int
    """Pixels of the photo; the square may reach outside it."""
    size: int
    """Pixels of the crop."""

    @property
    def scale(self) -> float:
        """Crop pixels per photo pixel."""
        return self.size / self.side

    def to_crop(self, points: np.ndarray) -> np.ndarray:
        """Map photo pixels [N, 2] to crop pixels."""
        return (points - np.array([self.left, self.top])) * self.scale

    def to_photo(self, points: np.ndarray) -> np.ndarray:
        """Map crop pixels [N, 2] to photo pixels."""
        return points / self.scale + np.array([self.left, self.top])

    def cut(self, photo: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the crop [size, size, 3] uint8 and the mask [size, size] bool of its pixels inside the photo.

        Resized with an antialiased bicubic filter; white outside the photo.
        """
        rows, columns = (np.arange(start, start + self.side) for start in (self.top, self.left))
        height, width = photo.shape[:2]
        inside = ((rows >= 0) & (rows < height))[:, None] & ((columns >= 0) & (columns < width))[None]
        square = photo[rows.clip(0, height - 1)][:, columns.clip(0, width - 1)]
        resized = interpolate(
            torch.from_numpy(square).permute(2, 0, 1)[None].float(),
            size=(self.size, self.size), mode="bicubic", antialias=True, align_corners=False,
        )  # fmt: skip
        crop = resized[0].permute(1, 2, 0).round().clamp(0, 255).to(torch.uint8).numpy()
        valid = interpolate(torch.from_numpy(inside)[None, None].float(), size=(self.size, self.size), mode="nearest")
        valid = valid[0, 0].numpy() > 0
        crop = np.where(valid[..., None], crop, np.uint8(PADDING))
        return np.ascontiguousarray(crop), valid


def outer_eye_distance(points: np.ndarray) -> float:
    """Return the distance in pixels between the outer eye corners of 68 points [68, 2]."""
    return float(np.linalg.norm(points[OUTER_EYES[0]] - points[OUTER_EYES[1]]))


def crop_around_landmarks(points: np.ndarray, size: int, margin: float) -> HeadCrop:
    """Return a first crop from 68 photo landmarks [68, 2]: size from eyes and mouth, centre between chin and crown."""
    eyes, mouth = points[list(OUTER_EYES)].mean(0), points[list(MOUTH_CORNERS)].mean(0)
    down = mouth - eyes
    pixels_per_metre = max(outer_eye_distance(points) / EYE_DISTANCE_M, float(np.linalg.norm(down)) / EYE_TO_MOUTH_M)
    centre = eyes + down * HEAD_CENTRE_BELOW_EYES_M / EYE_TO_MOUTH_M
    return crop_about(centre, CROP_SIDE_M * margin * pixels_per_metre, size)


def crop_about(centre: np.ndarray, side: float, size: int) -> HeadCrop:
    """Return a square crop of about `side` photo pixels centred at `centre` [2]."""
    whole = max(16, round(side))
    return HeadCrop(round(float(centre[0]) - whole / 2), round(float(centre[1]) - whole / 2), whole, size)
