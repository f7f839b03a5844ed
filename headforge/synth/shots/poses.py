"""Conversion of a head's global pose to the camera's: the head rests and the camera turns the other way."""

from __future__ import annotations

import torch

from headforge.flame.model import HeadModel, shaped_vertices
from headforge.geometry.rotations import axis_angle_to_matrix
from headforge.types import Camera, HeadParams


def at_rest(head: HeadModel, params: HeadParams, camera: Camera) -> tuple[HeadParams, Camera]:
    """Return unbatched parameters without global pose, and a moved camera that gives the same picture.

    Parts that do not follow the parameters (hair, light) then turn with the head.
    """
    if not (params.rotation.any() or params.translation.any()):
        return params, camera
    shaped = shaped_vertices(head, params.shape[None], params.expr[None])[0]
    root = head.joint_regressor[0] @ shaped
    rotation = axis_angle_to_matrix(params.rotation)
    motion = torch.eye(4)
    motion[:3, :3] = rotation
    motion[:3, 3] = root - rotation @ root + params.translation
    zero = torch.zeros(3)
    moved = Camera(camera.K, camera.viewmat @ motion, camera.width, camera.height)
    return params.replace(rotation=zero, translation=zero), moved
