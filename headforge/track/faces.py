"""Choice of one face among those detected in a picture."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from headforge.errors import Rejected
from headforge.track.crop import outer_eye_distance
from headforge.track.observe import DetectedFace

LARGEST_FACE = -1


def choose_face(found: Sequence[DetectedFace], name: str, face_index: int) -> DetectedFace:
    """Return the largest face, or the one with the given index in the detector's order; Rejected if there is none."""
    if not found:
        raise Rejected(name, "no_face", "no face was found in the photo.",
                       "use a photo with one upright face that looks roughly at the camera.")  # fmt: skip
    if face_index == LARGEST_FACE:
        return max(found, key=lambda face: outer_eye_distance(np.asarray(face.landmarks)))
    if not 0 <= face_index < len(found):
        raise Rejected(
            name, "face_index",
            f"face {face_index} was asked for, {len(found)} were found: {describe_faces(found)}.",
            f"pick a face from 0 to {len(found) - 1}.", float(face_index),
        )  # fmt: skip
    return found[face_index]


def describe_faces(found: Sequence[DetectedFace]) -> str:
    """Return index, size and position of each face, for a message that asks for a choice."""
    parts = []
    for index, face in enumerate(found):
        left, top, right, bottom = face.box
        parts.append(f"{index} of {right - left:.0f} x {bottom - top:.0f} px at ({left:.0f}, {top:.0f})")
    return "; ".join(parts)
