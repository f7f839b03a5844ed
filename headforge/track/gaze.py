"""Gaze estimation from the pupils in one picture and the fitted head."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import normalize

from headforge.flame.model import JOINTS, HeadModel, joint_rotations, joint_transforms, pose_head, shaped_vertices
from headforge.types import Camera, HeadParams

EYES = ("left_eye", "right_eye")
MAX_GAZE_RAD = math.radians(40)
"""Eyes turn about 45 degrees at most; a pupil that needs more was mislocated."""


def pupil_vertices(head: HeadModel) -> tuple[int, int]:
    """Return the foremost vertex of the left and of the right eyeball at rest. Raises KeyError for a head without
    eyeballs.
    """
    left, right = (
        int(ids[head.v_template[ids, 2].argmax()])
        for ids in (head.regions["left_eyeball"], head.regions["right_eyeball"])
    )
    return left, right


def solve_gaze(head: HeadModel, params: HeadParams, camera: Camera, pupils: Tensor) -> Tensor:
    """Return the axis-angles [6] of the left, then the right eye that project the pupils to `pupils` [2, 2] pixels.

    `params` and `camera` are unbatched; the eyes in `params` are ignored. Each pupil's ray is intersected with the
    sphere on which the eye rotates it (the sphere's nearest point if the ray misses), and the eye rotates there without
    torsion (Listing's law). An eye whose pupil is not finite, or that would rotate more than `MAX_GAZE_RAD`, looks
    straight ahead.
    """
    still = HeadParams.stack([params.replace(eyes=torch.zeros_like(params.eyes))])
    vertices = pose_head(head, still)[0]
    rotations = joint_rotations(still)
    joints = head.joint_regressor @ shaped_vertices(head, still.shape, still.expr)[0]
    transforms = joint_transforms(rotations, joints[None])[0]
    found = []
    for name, vertex, pixel in zip(EYES, pupil_vertices(head), pupils, strict=True):
        joint = JOINTS.index(name)
        turn = transforms[joint, :, :3]
        centre = turn @ joints[joint] + transforms[joint, :, 3] + params.translation
        ahead = vertices[vertex] - centre
        towards = _on_sphere(camera, pixel, centre, float(ahead.norm()))
        found.append(_shortest_turn(turn.T @ ahead, turn.T @ towards))
    return torch.cat(found)


def _on_sphere(camera: Camera, pixel: Tensor, centre: Tensor, radius: float) -> Tensor:
    """Return the vector [3] from `centre` [3] to the first hit of the ray through `pixel` [2] on its sphere."""
    homogeneous = torch.cat([pixel.to(centre), centre.new_ones(1)])
    ray = normalize(camera.viewmat[:3, :3].T @ torch.linalg.inv(camera.K) @ homogeneous, dim=0)
    offset = camera.centre - centre
    along = -(offset @ ray)
    miss = offset + along * ray
    inside = radius**2 - miss @ miss
    return miss - inside.clamp_min(0).sqrt() * ray


def _shortest_turn(start: Tensor, end: Tensor) -> Tensor:
    """Return the axis-angle [3] of the smallest rotation between two directions; zero if too large or not finite."""
    axis = torch.linalg.cross(start, end)
    angle = torch.atan2(axis.norm(), start @ end)
    if not (bool(torch.isfinite(angle)) and float(angle) <= MAX_GAZE_RAD):
        return torch.zeros_like(start)
    return normalize(axis, dim=0) * angle
