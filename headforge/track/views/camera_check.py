"""Check of a dataset's cameras against the faces in its pictures, before a long run."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from PIL import Image, ImageDraw

from headforge.errors import DataError, InputError
from headforge.flame.model import HeadModel, landmarks, pose_head
from headforge.geometry.camera_check import CONVENTIONS, FINE, UNCLEAR, ConventionCheck, check_camera_convention
from headforge.geometry.cameras import project, transform_points
from headforge.store.dataset.shards import Dataset
from headforge.store.files import write_bytes
from headforge.store.images import encode_png
from headforge.track.observe import FaceDetector
from headforge.track.views.views import ViewLandmarks
from headforge.types import Camera, HeadParams, Sample

T = TypeVar("T")

N_VIEWS = 12
"""Pictures checked per person; a detector finds faces in frontal ones only."""
MAX_SUBJECTS = 4
"""Largest number of people checked until one has faces from two sides."""
N_SHOWN = 4
SHOWN_SIDE_PX = 320
DETECTED_RGB, STATED_RGB, RIGHT_RGB = (255, 255, 255), (255, 70, 60), (90, 255, 90)


@dataclass(frozen=True)
class CameraReport:
    """The check of one person's pictures."""

    subject_ids: tuple[str, ...]
    """Subjects of the pictures: one person, or several people with one picture each in a common world (EG3D's)."""
    n_faces: int
    check: ConventionCheck
    picture: np.ndarray
    """[H, W, 3] uint8: the landmarks as detected (white) and as projected by the cameras, as stated (red) and in the
    detected convention (green)."""


def check_dataset_cameras(
    dataset: Dataset, head: HeadModel, detector: FaceDetector, picture: Path | None = None
) -> CameraReport:
    """Check the cameras of the first people whose pictures show enough faces; write `picture` (PNG) if given.

    Where head parameters of the model `head` are known, their landmarks are projected; otherwise the detected ones are
    triangulated. Where each person has one picture, pictures of several people are treated as of one head. Raises
    InputError if too few faces are found for the check.
    """
    mean_head = landmarks(head, pose_head(head, head.neutral((1,))))[0]
    reason = f"{dataset.folder} holds no picture."
    for samples in _groups(dataset):
        seen = [(sample, points) for sample in samples if (points := _detect(detector, sample)) is not None]
        try:
            report = _check(seen, head, mean_head)
        except InputError as error:
            reason = f"the cameras of {dataset.folder} can't be checked: {error.message}"
            continue
        if picture is not None:
            write_bytes(picture, encode_png(report.picture))
        return report
    raise InputError(dataset.folder, reason, "check the cameras yourself: headforge view, or a few projected points.")


def require_known_convention(head: HeadModel, camera: Camera, seen: ViewLandmarks) -> bool:
    """Return whether the cameras [V] of one subject could be checked against its landmarks.

    Raises DataError if they are clearly in another convention than headforge's; the world frame is arbitrary.
    """
    mean_head = landmarks(head, pose_head(head, head.neutral((1,))))[0]
    try:
        check = check_camera_convention(camera, seen.points, seen.weights > 0, mean_head=mean_head)
    except InputError:
        return False
    if check.verdict not in (FINE, UNCLEAR) and not CONVENTIONS[check.verdict].is_turned_only:
        raise DataError(seen.subject_id, f"{seen.subject_id}: {check.message}",
                        "import the pictures again with --cameras NAME, or let the cameras be estimated.")  # fmt: skip
    return True


def _groups(dataset: Dataset) -> Iterator[list[Sample]]:
    """Yield groups of pictures to check together: those of each person, then one each of many people."""
    ids = dataset.subject_ids()
    for subject_id in [name for name in ids if len(dataset.views_of(name)) > 1][:MAX_SUBJECTS]:
        views = _spread(dataset.views_of(subject_id), N_VIEWS)
        yield [dataset.sample(subject_id, view) for view in views]
    chosen = _spread(ids, N_VIEWS)
    yield [dataset.sample(name, dataset.views_of(name)[0]) for name in chosen]


def _spread(items: Sequence[T], n: int) -> list[T]:
    if len(items) <= n:
        return list(items)
    return [items[round(i * (len(items) - 1) / (n - 1))] for i in range(n)]


def _detect(detector: FaceDetector, sample: Sample) -> np.ndarray | None:
    """Return the landmarks [68, 2] of the largest face, or None."""
    faces = detector.detect_landmarks(sample.image)
    return np.asarray(max(faces, key=lambda face: face.box[2] - face.box[0]).landmarks) if faces else None


def _check(seen: Sequence[tuple[Sample, np.ndarray]], head: HeadModel, mean_head: torch.Tensor) -> CameraReport:
    if not seen:
        raise InputError("landmarks", "no face was found.", "give pictures that show a face.")
    camera = Camera.stack([sample.camera for sample, _ in seen])
    pixels = torch.from_numpy(np.stack([points for _, points in seen]))
    known = _known_points(seen, head)
    check = check_camera_convention(camera, pixels, points=known, mean_head=mean_head)
    names = tuple(dict.fromkeys(sample.subject_id for sample, _ in seen))
    return CameraReport(names, len(seen), check, draw_check(seen, check, known))


def _known_points(seen: Sequence[tuple[Sample, np.ndarray]], head: HeadModel) -> torch.Tensor | None:
    """Return the landmarks [V, 68, 3] of the head parameters, if all views have parameters of this head model."""
    if any(sample.params.model_id != head.model_id for sample, _ in seen):
        return None
    return landmarks(head, pose_head(head, HeadParams.stack([sample.params for sample, _ in seen])))


def draw_check(
    seen: Sequence[tuple[Sample, np.ndarray]], check: ConventionCheck, known: torch.Tensor | None = None
) -> np.ndarray:
    """Render a row of pictures with detected landmarks [68, 2] and the projected ones.

    The projected points are the `known` ones [V, 68, 3] or the triangulated ones.
    """
    tiles = []
    for number in _spread(range(len(seen)), N_SHOWN):
        sample, points = seen[number]
        placed = check.points if known is None else known[number].double()
        scale = SHOWN_SIDE_PX / max(sample.image.shape[:2])
        image = Image.fromarray(sample.image)
        image = image.resize((round(image.width * scale), round(image.height * scale)))
        pen = ImageDraw.Draw(image)
        if placed is not None and check.verdict != UNCLEAR:
            one = Camera(sample.camera.K.double(), sample.camera.viewmat.double(), sample.camera.width,
                         sample.camera.height)  # fmt: skip
            if check.verdict != FINE:
                _dots(pen, _through_the_lens(one, placed) * scale, STATED_RGB)
            right = CONVENTIONS[check.verdict].apply(one)
            _dots(pen, project(right, placed)[0].numpy() * scale, RIGHT_RGB)
        _dots(pen, points * scale, DETECTED_RGB, 1.0)
        canvas = Image.new("RGB", (SHOWN_SIDE_PX, SHOWN_SIDE_PX))
        canvas.paste(image)
        tiles.append(np.asarray(canvas))
    return np.concatenate(tiles, axis=1)


def _through_the_lens(camera: Camera, points: torch.Tensor) -> np.ndarray:
    """Project points to pixels [N, 2], including points behind the camera."""
    homogeneous = transform_points(camera.viewmat, points) @ camera.K.T
    return (homogeneous[:, :2] / homogeneous[:, 2:]).numpy()


def _dots(pen: ImageDraw.ImageDraw, points: np.ndarray, colour: tuple[int, int, int], radius: float = 2.0) -> None:
    for x, y in points[np.isfinite(points).all(-1)].tolist():
        pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill=colour)
