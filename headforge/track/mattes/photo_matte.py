"""Matting prior of a photo from the fitted head."""

from __future__ import annotations

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

from headforge.flame.model import HeadModel, landmarks
from headforge.geometry.cameras import project
from headforge.render.mesh import rasterize
from headforge.track.mattes.matting import MattePrior
from headforge.types import Camera

HEAD_HEIGHT_M = 0.235
"""Chin to crown of an average adult; scales the hair band."""
SURE_INSIDE = 0.05
"""Distance inside the projected head beyond which a pixel is definitely head, in head heights."""
HAIR_WIDTH = 0.16
"""Length over which the probability of hair decays outside the projected head, in head heights."""
HAIR_LIMIT = 0.5
"""Largest distance of hair from the projected head, in head heights."""
NECK_BELOW_CHIN_M = 0.05
"""Length of neck that is kept; below it clothes begin."""
NECK_PROBABILITY = 0.7
CHIN = 8


def matte_prior(head: HeadModel, vertices: Tensor, camera: Camera, inside_photo: np.ndarray) -> MattePrior:
    """Return the prior of a photo's crop from posed `vertices` [V, 3], unbatched camera and `inside_photo` [H, W]."""
    ids = rasterize(vertices[None], head.faces, Camera.stack([camera])).face_ids[0].numpy()
    is_neck = np.zeros(len(head.faces) + 1, dtype=bool)
    if "neck" in head.regions:
        is_neck[head.faces_of("neck").numpy()] = True
    on_neck = is_neck[ids] & (ids >= 0)
    on_head = (ids >= 0) & ~on_neck
    chin = landmarks(head, vertices[None])[0, CHIN]
    height_px = HEAD_HEIGHT_M * float(camera.K[0, 0] / camera.viewmat[2, 3])
    below = _below_neck(chin, vertices, camera)
    outside = np.asarray(ndimage.distance_transform_edt(~on_head)) / height_px
    depth_inside = np.asarray(ndimage.distance_transform_edt(on_head)) / height_px
    hair = 0.6 * np.exp(-((outside / HAIR_WIDTH) ** 2))
    probability = np.where(on_head, 0.9, np.where(on_neck, np.maximum(hair, NECK_PROBABILITY), hair))
    surely_background = (outside > HAIR_LIMIT) | below | ~inside_photo
    surely_head = (depth_inside > SURE_INSIDE) & ~surely_background
    return MattePrior(surely_head, surely_background, np.where(surely_background, 0.0, probability))


def _below_neck(chin: Tensor, vertices: Tensor, camera: Camera) -> np.ndarray:
    """Return the mask [H, W] bool below the line that cuts the neck, drawn from side to side through its middle."""
    centre_z = float(vertices[:, 2].mean())
    level = float(chin[1]) - NECK_BELOW_CHIN_M
    ends = torch.tensor([[0.1, level, centre_z], [-0.1, level, centre_z]])
    (x0, y0), (x1, y1) = project(camera, ends)[0].tolist()
    rows, columns = np.mgrid[: camera.height, : camera.width] + 0.5
    if abs(x1 - x0) < 1:
        return np.zeros((camera.height, camera.width), dtype=bool)
    return rows > y0 + (columns - x0) * (y1 - y0) / (x1 - x0)
