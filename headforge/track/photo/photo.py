"""Tracking of one photo: face, square head crop, fit, matte and diagnostic pictures."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from headforge.errors import Rejected
from headforge.flame.model import HeadModel, pose_head
from headforge.geometry.cameras import focal_px_from_fov, project, yaw_pitch_deg
from headforge.geometry.meshes import interpolate_on_faces
from headforge.store.images import encode_png
from headforge.track.config import TrackConfig
from headforge.track.crop import CROP_SIDE_M, HeadCrop, crop_about, crop_around_landmarks, outer_eye_distance
from headforge.track.faces import LARGEST_FACE, choose_face
from headforge.track.mattes.matting import matte
from headforge.track.mattes.photo_matte import matte_prior
from headforge.track.observe import DetectedFace, FaceDetector
from headforge.track.overlay import draw_overlay
from headforge.track.photo.fit import PhotoFit, fit_photo_landmarks
from headforge.track.solver.fitted import fitted_camera, fitted_params
from headforge.track.solver.state import FitSettings
from headforge.types import Camera, HeadParams, Track

MIN_EYE_DISTANCE_PX = 16.0
"""A face with a smaller outer-eye distance has too little detail to fit."""
MAX_YAW_DEG = 75.0
MAX_ROLL_DEG = 75.0


@dataclass(frozen=True)
class PhotoTrack:
    """The track of one photo; pixels are those of the crop unless stated otherwise."""

    track: Track
    crop: HeadCrop
    face: DetectedFace
    """The detected face, in photo pixels."""
    observed: np.ndarray
    """[68, 2]."""
    fitted: np.ndarray
    """[68, 2]."""
    residual_eyes: float
    """Mean landmark distance in outer-eye distances."""
    vertices: Tensor
    """[V, 3] of the posed head."""


@dataclass(frozen=True)
class TrackedPhoto:
    """A tracked photo and its output pictures; pixels are those of the crop."""

    found: PhotoTrack
    image: np.ndarray
    """[S, S, 3] uint8: the square head crop, white outside the photo."""
    mask: np.ndarray
    """[S, S] uint8: coverage of head and hair, 255 for full coverage."""
    photo: np.ndarray
    """[S, S, 3] uint8: the person over white."""
    overlay: np.ndarray
    """[S, S, 3] uint8: the crop with the fitted mesh, the observed (red) and the fitted (green) landmarks."""

    @property
    def name(self) -> str:
        """Name of the photo in messages and files."""
        return self.found.track.subject_id

    @property
    def params(self) -> HeadParams:
        """Unbatched parameters of the person in the photo."""
        return self.found.track.params

    @property
    def camera(self) -> Camera:
        """Unbatched camera of the crop."""
        return self.found.track.camera

    def save(self, folder: Path | str) -> None:
        """Write original_crop.png, mask.png, photo.png, overlay.png and track.json into `folder`, made if needed."""
        output = Path(folder)
        output.mkdir(parents=True, exist_ok=True)
        pictures = {"original_crop": self.image, "mask": self.mask, "photo": self.photo, "overlay": self.overlay}
        for stem, pixels in pictures.items():
            (output / f"{stem}.png").write_bytes(encode_png(pixels))
        (output / "track.json").write_text(json.dumps(_as_json(self.found), indent=1, sort_keys=True) + "\n")


def track_photo(
    config: TrackConfig,
    photo: np.ndarray,
    name: str,
    head: HeadModel,
    faces: FaceDetector,
    output: Path,
    face_index: int = LARGEST_FACE,
) -> Track:
    """Fit the head model to a photo [H, W, 3] uint8 and write the inputs of later stages into `output`.

    `face_index` picks a face in the detector's order; the largest by default. Writes original_crop.png, mask.png,
    photo.png (on white), overlay.png and track.json. Raises Rejected for a photo without a usable face; then nothing is
    written.
    """
    tracked = fit_and_matte(config, photo, name, head, faces, face_index)
    tracked.save(output)
    return tracked.found.track


def fit_and_matte(
    config: TrackConfig,
    photo: np.ndarray,
    name: str,
    head: HeadModel,
    faces: FaceDetector,
    face_index: int = LARGEST_FACE,
) -> TrackedPhoto:
    """Return the results that `track_photo` writes. Raises Rejected for a photo without a usable face."""
    found = fit_photo(config, photo, name, head, faces, face_index)
    image, inside = found.crop.cut(photo)
    alpha = matte(image, matte_prior(head, found.vertices, found.track.camera, inside))
    mask = np.round(255 * alpha).astype(np.uint8)
    on_white = np.round(image * alpha[..., None] + 255 * (1 - alpha[..., None])).astype(np.uint8)
    overlay = draw_overlay(image, head, found.vertices, found.track.camera, found.observed, found.fitted)
    return TrackedPhoto(found, image, mask, on_white, overlay)


def fit_photo(
    config: TrackConfig, photo: np.ndarray, name: str, head: HeadModel, faces: FaceDetector, face_index: int
) -> PhotoTrack:
    """Return the fit of one face. Raises Rejected without a face and for an implausible fit."""
    face = choose_face(faces.detect_landmarks(photo), name, face_index)
    points = np.asarray(face.landmarks, dtype=np.float64)
    n_bad = int((~np.isfinite(points).all(-1)).sum())
    if n_bad:
        raise Rejected(name, "landmarks", f"{n_bad} of {len(points)} landmarks are not finite numbers.",
                       "mend the landmarks, or let a detector find them.", float(n_bad))  # fmt: skip
    distance = outer_eye_distance(points)
    if distance < MIN_EYE_DISTANCE_PX:
        raise Rejected(
            name, "face_size", f"the face is too small: {distance:.0f} px between the outer eye corners.",
            f"use a photo in which they are at least {MIN_EYE_DISTANCE_PX:.0f} px apart.", distance,
        )  # fmt: skip
    crop = crop_around_landmarks(points, config.photo_size, config.photo_margin)
    first = _fit_crop(config, head, crop, points)
    crop = _centred_crop(config, crop, first)
    found = _fit_crop(config, head, crop, points)
    return _checked(config, name, head, crop, face, points, found)


def photo_settings(config: TrackConfig, eye_distance_px: float) -> FitSettings:
    """Return solver settings for one crop: assumed field of view, coefficient limits, robust to single outliers."""
    return FitSettings(
        sigma_px=config.photo_landmark_noise * eye_distance_px,
        focal_px=focal_px_from_fov(config.photo_fov_deg, config.photo_size),
        focal_known=True,
        shape_sigma=config.shape_sigma,
        expr_sigma=config.expr_sigma,
        jaw_sigma_rad=(config.jaw_sigma_rad, config.jaw_sigma_rad / 5, config.jaw_sigma_rad / 5),
        coefficient_limit=config.coefficient_limit,
        n_iterations=config.n_iterations,
        # The head model's misfit has heavy tails: the soft kernel is kept throughout.
        n_annealing=config.n_iterations,
    )


def _fit_crop(config: TrackConfig, head: HeadModel, crop: HeadCrop, points: np.ndarray) -> PhotoFit:
    observed = crop.to_crop(points)
    settings = photo_settings(config, outer_eye_distance(observed))
    return fit_photo_landmarks(head, observed, config.photo_size, settings)


def _centred_crop(config: TrackConfig, crop: HeadCrop, found: PhotoFit) -> HeadCrop:
    """Return the crop about the projected origin of the fitted head, scaled by its depth."""
    camera = fitted_camera(found.fit, 0, config.photo_size, config.photo_size)
    origin = project(camera, torch.zeros(1, 3))[0].numpy()
    pixels_per_metre = float(camera.K[0, 0] / camera.viewmat[2, 3]) / crop.scale
    side = CROP_SIDE_M * config.photo_margin * pixels_per_metre
    return crop_about(crop.to_photo(origin)[0], side, config.photo_size)


def _checked(
    config: TrackConfig, name: str, head: HeadModel, crop: HeadCrop, face: DetectedFace, points: np.ndarray,
    found: PhotoFit,
) -> PhotoTrack:  # fmt: skip
    observed = crop.to_crop(points)
    camera = fitted_camera(found.fit, 0, config.photo_size, config.photo_size)
    params = fitted_params(head, found.basis, found.fit, 0)
    _check_pose(name, camera)
    if not found.residual_eyes <= config.photo_max_residual:
        raise Rejected(
            name, "implausible_face",
            f"no head explains the landmarks: they are off by {100 * found.residual_eyes:.1f} % of the outer-eye "
            f"distance, at most {100 * config.photo_max_residual:.1f} % are allowed.",
            "use a sharper photo of a human face, or pick another face in it.", found.residual_eyes,
        )  # fmt: skip
    vertices = pose_head(head, HeadParams.stack([params]))[0]
    fitted = interpolate_on_faces(vertices, head.faces, found.landmark_faces, found.landmark_barycentrics)
    residuals = found.fit.residuals[0]
    track = Track(
        subject_id=name, view=0, status="ok", reason="", camera=camera, params=params,
        residual_px=float(residuals.square().mean().sqrt()), n_landmarks=len(residuals),
    )  # fmt: skip
    pixels = project(camera, fitted)[0].numpy()
    return PhotoTrack(track, crop, face, observed, pixels, found.residual_eyes, vertices)


def _check_pose(name: str, camera: Camera) -> None:
    yaw = float(yaw_pitch_deg(camera)[0])
    down = camera.viewmat[:3, :3] @ torch.tensor([0.0, -1.0, 0.0])
    roll = float(torch.rad2deg(torch.atan2(down[0], down[1])))
    for gate, angle, limit, word in (("yaw", yaw, MAX_YAW_DEG, "turned"), ("roll", roll, MAX_ROLL_DEG, "tilted")):
        if abs(angle) > limit:
            raise Rejected(name, gate, f"the face is {word} by {abs(angle):.0f} degrees.",
                           "use a photo with one upright face that looks roughly at the camera.", angle)  # fmt: skip


def _as_json(found: PhotoTrack) -> dict[str, object]:
    track, camera = found.track, found.track.camera
    yaw, pitch = yaw_pitch_deg(camera)
    return {
        "name": track.subject_id,
        "status": track.status,
        "reason": track.reason,
        "model_id": track.params.model_id,
        "params": {name: value.tolist() for name, value in track.params.tensors().items()},
        "camera": {
            "K": camera.K.tolist(), "viewmat": camera.viewmat.tolist(),
            "width": camera.width, "height": camera.height,
        },
        "yaw_deg": float(yaw),
        "pitch_deg": float(pitch),
        "residual_px": track.residual_px,
        "residual_eye_distance": found.residual_eyes,
        "n_landmarks": track.n_landmarks,
        "crop": {
            "left": found.crop.left, "top": found.crop.top, "side": found.crop.side, "size": found.crop.size,
        },
        "face_box": [float(x) for x in found.face.box],
        "face_score": float(found.face.score),
        "landmarks": found.observed.tolist(),
        "fitted_landmarks": found.fitted.tolist(),
    }  # fmt: skip
