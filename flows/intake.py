"""Photos on the command line: checked, put into the store, named in params.yaml."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from flows.project import store_root
from headforge.errors import InputError
from headforge.priors.dlib_faces import DlibFaces
from headforge.store.images import read_photo
from headforge.store.objects import Store


def take_portraits(photos: Sequence[Path]) -> dict[str, str]:
    """SHA-256 of each photo by name. Raises InputError for a file that is no photo, and if no photo shows a face.

    A photo without a face among others with one is taken: the stage `track` records it as rejected.
    """
    faces = DlibFaces()
    pictures = [read_photo(path) for path in photos]
    if not any(faces.detect_landmarks(picture) for picture in pictures):
        names = ", ".join(str(path) for path in photos)
        what = "no face was found in it" if len(photos) == 1 else "no face was found in any of them"
        raise InputError(
            names, f"{names}: {what}.", "use a photo with one upright face that looks roughly at the camera."
        )
    store = Store(store_root())
    taken: dict[str, str] = {}
    for path in photos:
        taken[_new_name(path, taken)] = store.put_blob(path.read_bytes())
    return taken


def _new_name(path: Path, taken: dict[str, str]) -> str:
    name = re.sub(r"[^a-z0-9_-]+", "-", path.stem.lower()).strip("-")[:48]
    name = name if name[:1].isalpha() else f"photo-{name}".rstrip("-")
    number, free = 1, name
    while free in taken:
        number += 1
        free = f"{name}-{number}"
    return free
