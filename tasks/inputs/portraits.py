"""Portraits as inputs: pictures in the store, by content, or the one from scikit-image."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np

from headforge.errors import ConfigError
from headforge.store.astronaut import ASTRONAUT, astronaut
from headforge.store.images import read_photo
from headforge.store.objects.store import Store
from tasks.inputs.named_inputs import content_of


def load_picture(picture: str, store: Path) -> np.ndarray:
    """Return the pixels [H, W, 3] uint8 of a portrait that params.yaml names by SHA-256 or as builtin:astronaut."""
    return astronaut() if picture == ASTRONAUT else read_photo(stored_file(content_of(picture), store, "portrait"))


def stored_file(sha256: str, store: Path, kind: str) -> Path:
    """Return the file in the store of a portrait, video or landmark list; `kind` is one of these words.

    Raises ConfigError if it is missing.
    """
    path = Store(store).blob(sha256)
    if not path.is_file():
        raise ConfigError(
            f"{kind}s", sha256, f"the {kind} {sha256[:12]}… that params.yaml names is not in the store {store}.",
            f"give it again: headforge run --{'landmarks' if kind == 'landmark' else kind} FILE.",
        )  # fmt: skip
    return path


def picture_digest(picture: str) -> str:
    """Return the digest of a portrait for recipes."""
    return hashlib.sha256(astronaut().tobytes()).hexdigest() if picture == ASTRONAUT else content_of(picture)
