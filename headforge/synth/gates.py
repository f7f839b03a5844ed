"""Quality gates: whether a picture may enter the dataset. A function of the item and the settings alone."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy import ndimage

from headforge.flame.model import HeadModel, joint_rotations, landmarks, pose_head
from headforge.geometry.cameras import project
from headforge.geometry.meshes import face_normals
from headforge.render.visibility import visible_points
from headforge.synth.config import SynthesizeConfig
from headforge.types import NO_HEAD_MODEL, Camera, HeadParams, Sample

COVERED = 8
"""Least mask value that counts as covered at the border."""
INNER_LANDMARKS = slice(17, 68)
"""iBUG's landmarks without the jaw line, which detectors place less accurately."""
OUTER_EYE_CORNERS = (36, 45)
BLUR_SCALE = 1 / 128
"""Standard deviation at which structure is measured, as a share of the picture's width."""
OUTLINE_SIGMAS = 4
"""Standard deviations from the outline beyond which its own response is negligible."""
LUMA = np.array([0.299, 0.587, 0.114])
"""ITU-R BT.601."""

Detector = Callable[[np.ndarray], Sequence[np.ndarray]]
"""Landmarks [68, 2] in pixels (centres at +0.5, iBUG order) of each face found in a [H, W, 3] uint8 picture."""


@dataclass(frozen=True)
class Gate:
    """A gate that an item failed."""

    name: str
    reason: str
    value: float | None
    """The measured value; None if it could not be measured."""


Measured = tuple[Gate | None, Mapping[str, float]]
"""The gate that failed, or None, and the measured values by name."""


def check_view(config: SynthesizeConfig, sample: Sample, head: HeadModel, detector: Detector | None = None) -> Measured:
    """Return the first gate that a view fails, or None, and the values measured by the enabled gates.

    `detector` is used if given. Cheap gates run first; a failure skips the rest. The landmark gate applies only to
    views with known parameters of the model `head`.
    """
    failed, measured = check_picture(sample.mask, config)
    checks: list[Callable[[], Measured]] = []
    if config.gate_min_sharpness > 0:
        checks.append(lambda: check_sharpness(sample.image, sample.mask, config.gate_min_sharpness))
    if config.gate_min_landmarks > 0:
        checks.append(lambda: check_landmarks(head, sample.params, sample.camera, config.gate_min_landmarks))
    if detector is not None:
        checks.append(lambda: check_detector(config, sample, head, detector))
    for check in checks:
        if failed is not None:
            break
        failed, found = check()
        measured = {**measured, **found}
    return failed, measured


def check_picture(mask: np.ndarray, config: SynthesizeConfig) -> Measured:
    """Check that the head of a mask [H, W] uint8 is large enough, not too large and inside the picture."""
    area = float(mask.mean()) / 255
    border = np.concatenate([mask[0], mask[:, 0], mask[:, -1]])
    touched = float((border >= COVERED).mean())
    measured = {"mask_area": round(area, 6), "border_touched": round(touched, 6)}
    low, high = config.gate_min_area, config.gate_max_area
    if not low <= area <= high:
        reason = f"the head covers {area:.1%} of the picture, allowed are {low:.0%} to {high:.0%}"
        return Gate("mask_area", reason, area), measured
    if touched > config.gate_max_border:
        return Gate("cut_off", f"the head is cut off at {touched:.1%} of the border's pixels", touched), measured
    return None, measured


def check_sharpness(image: np.ndarray, mask: np.ndarray, least: float) -> Measured:
    """Check that the head shows enough structure."""
    found = sharpness(image, mask)
    gate = Gate("blur", f"the sharpness is {found:.2f}, at least {least:g} is asked", found) if found < least else None
    return gate, {"sharpness": round(found, 6)}


def sharpness(image: np.ndarray, mask: np.ndarray) -> float:
    """Return the standard deviation of the Laplacian inside the mask, in gray levels of 255; independent of resolution.

    The Laplacian is taken at a scale that grows with the picture and multiplied by the scale's square (Lindeberg 1998):
    a picture drawn at another size gives the same number. The outline is excluded. `image` [H, W, 3], `mask` [H, W]
    uint8; 0 if nothing is inside.
    """
    sigma_px = image.shape[1] * BLUR_SCALE
    response = sigma_px**2 * ndimage.gaussian_laplace(image @ LUMA, sigma_px, mode="nearest")
    to_outline_px = np.asarray(ndimage.distance_transform_edt(np.pad(mask >= 128, 1)))[1:-1, 1:-1]
    inside = to_outline_px > OUTLINE_SIGMAS * sigma_px
    return float(response[inside].std()) if inside.any() else 0.0


def check_landmarks(head: HeadModel, params: HeadParams, camera: Camera, least: int) -> Measured:
    """Check that the camera sees enough of the 68 landmarks; hair does not count as an occluder."""
    vertices, points = _posed(head, params)
    corners = head.faces[head.landmark_faces]
    normals = face_normals(vertices[:, corners.flatten()], torch.arange(corners.numel()).reshape(-1, 3))
    n_seen = int(visible_points(vertices, head.faces, points, normals, _batched(camera)).sum())
    reason = f"{n_seen} of {points.shape[1]} landmarks are in sight, at least {least} are asked"
    return Gate("landmarks", reason, n_seen) if n_seen < least else None, {"landmarks_seen": n_seen}


def check_detector(config: SynthesizeConfig, sample: Sample, head: HeadModel, detector: Detector) -> Measured:
    """Check that a detector finds the face of a near-frontal view in the right place; other views pass unmeasured.

    If the head's parameters, and so its landmarks, are unknown, any detected face passes.
    """
    is_known = sample.params.model_id != NO_HEAD_MODEL
    angle_deg = angle_from_front_deg(sample.params, sample.camera) if is_known else angle_from_axis_deg(sample)
    if angle_deg > config.gate_detector_max_angle_deg:
        return None, {}
    faces = detector(sample.image)
    if not faces:
        reason = f"the detector found no face in a picture taken {angle_deg:.0f} degrees from the front"
        return Gate("detector", reason, None), {}
    if not is_known:
        return None, {}
    exact = project(_batched(sample.camera), _posed(head, sample.params)[1])[0][0].double().numpy()
    error = min(detector_error(exact, face) for face in faces)
    measured = {"detector_error": round(error, 6)}
    if error <= config.gate_detector_max_error:
        return None, measured
    reason = f"the detector's landmarks lie {error:.2f} outer-eye distances from where they are"
    return Gate("detector", reason, error), measured


def detector_error(exact: np.ndarray, found: np.ndarray) -> float:
    """Return the mean distance of the inner landmarks [68, 2] of both, in outer-eye distances of the exact ones."""
    left, right = OUTER_EYE_CORNERS
    distances = np.linalg.norm(exact[INNER_LANDMARKS] - found[INNER_LANDMARKS], axis=-1)
    return float(distances.mean() / np.linalg.norm(exact[left] - exact[right]))


def angle_from_front_deg(params: HeadParams, camera: Camera) -> float:
    """Return the angle in degrees between the face's direction (global and neck rotations applied) and the camera."""
    batched = HeadParams(params.model_id, **{name: value[None] for name, value in params.tensors().items()})
    root, neck = joint_rotations(batched)[0, :2]
    facing = (root @ neck)[:, 2]
    cosine = float(facing @ torch.nn.functional.normalize(camera.centre - params.translation, dim=0))
    return math.degrees(math.acos(min(max(cosine, -1.0), 1.0)))


def angle_from_axis_deg(sample: Sample) -> float:
    """Return the angle in degrees between the head's forward axis and the camera, for a head that isn't turned."""
    yaw, pitch = math.radians(sample.yaw_deg), math.radians(sample.pitch_deg)
    return math.degrees(math.acos(min(max(math.cos(yaw) * math.cos(pitch), -1.0), 1.0)))


def _posed(head: HeadModel, params: HeadParams) -> tuple[torch.Tensor, torch.Tensor]:
    """Return vertices [1, V, 3] and landmarks [1, 68, 3] of unbatched parameters."""
    batched = HeadParams(params.model_id, **{name: value[None] for name, value in params.tensors().items()})
    vertices = pose_head(head, batched)
    return vertices, landmarks(head, vertices)


def _batched(camera: Camera) -> Camera:
    return Camera(camera.K[None], camera.viewmat[None], camera.width, camera.height)
