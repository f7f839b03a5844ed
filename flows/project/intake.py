"""Checking photos and videos given on the command line, and storing them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from flows.project.project import store_root
from headforge.errors import InputError
from headforge.priors.faces.dlib_faces import DlibFaces
from headforge.store.images import read_photo
from headforge.store.objects.store import Store
from headforge.store.video import open_video
from headforge.track.faces import describe_faces
from headforge.track.observe import DetectedFace
from tasks.inputs.named_inputs import LARGEST_FACE, name_face

PROBED_SIDE_PX = 1280
"""Size at which a video is opened to check that it can be read; any size would do."""


def take_portraits(photos: Sequence[Path], face: int | None = None) -> dict[str, str]:
    """Store photos and return the SHA-256 of each by name; raises InputError for a missing file or if no face is found.

    An unreadable file, or a photo without a face, is accepted if another photo shows a face: the stage `track` records
    it as rejected. With `face` every photo must show a face of that number.
    """
    faces = DlibFaces()
    found: list[tuple[Path, Sequence[DetectedFace]]] = []
    unreadable: list[InputError] = []
    for path in photos:
        try:
            found.append((path, faces.detect_landmarks(read_photo(path))))
        except InputError as error:
            if not path.is_file():
                raise
            unreadable.append(error)
    if unreadable and not any(seen for _, seen in found):
        raise unreadable[0]
    if not any(seen for _, seen in found):
        names = ", ".join(str(path) for path in photos)
        what = "no face was found in it" if len(photos) == 1 else "no face was found in any of them"
        raise InputError(
            names, f"{names}: {what}.", "use a photo with one upright face that looks roughly at the camera."
        )
    for path, seen in found:
        if face is not None and not 0 <= face < len(seen):
            raise _no_such_face(path, face, seen)
    return _stored(photos, face)


def take_videos(videos: Sequence[Path], face: int | None = None) -> dict[str, str]:
    """Store videos and return the SHA-256 of each by name; raises InputError for a file without readable frames."""
    for path in videos:
        open_video(path, PROBED_SIDE_PX)
    return _stored(videos, face)


def take_landmarks(files: Sequence[Path], videos: Mapping[str, str]) -> dict[str, str]:
    """Store landmark files and return the SHA-256 of each by the name of its video; both are in the same order.

    The content is checked later.
    """
    for path in files:
        if not path.is_file():
            raise InputError(path, f"{path} does not exist.", "check the path of the landmarks.")
    store = Store(store_root())
    return {name: store.put_file(path) for name, path in zip(videos, files, strict=False)}


def _no_such_face(path: Path, face: int, seen: Sequence[DetectedFace]) -> InputError:
    faces = f": {describe_faces(seen)}" if seen else ""
    return InputError(
        path, f"{path}: face {face} was asked for, {len(seen)} were found{faces}.",
        f"choose a face from 0 to {len(seen) - 1}." if seen else "leave this photo out.",
    )  # fmt: skip


def _stored(files: Sequence[Path], face: int | None) -> dict[str, str]:
    store = Store(store_root())
    taken: dict[str, str] = {}
    for path in files:
        sha256 = store.put_file(path)
        taken[_new_name(path, taken)] = name_face(sha256, LARGEST_FACE if face is None else face)
    return taken


def _new_name(path: Path, taken: dict[str, str]) -> str:
    name = re.sub(r"[^a-z0-9_-]+", "-", path.stem.lower()).strip("-")[:48]
    name = name if name[:1].isalpha() else f"photo-{name}".rstrip("-")
    number, free = 1, name
    while free in taken:
        number += 1
        free = f"{name}-{number}"
    return free
