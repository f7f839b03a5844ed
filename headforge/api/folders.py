"""Folders given by the user: their kinds, and errors for other kinds."""

from __future__ import annotations

from pathlib import Path

from headforge.errors import InputError

MARKERS = {
    "dataset": "dataset.json",
    "trained model": "model.json",
    "avatar": "avatar.json",
    "tracked photo": "track.json",
}
"""The file that identifies each kind of folder."""
HOW_TO_OPEN = {
    "dataset": "open a dataset with headforge.open_dataset(folder).",
    "trained model": "load a trained model with headforge.load_model(folder).",
    "avatar": "load an avatar with headforge.load_avatar(folder).",
    "tracked photo": "give a tracked photo to ControlModel.sample(folder).",
}
MAX_NAMED = 6


def require_kind(folder: str | Path, kind: str) -> Path:
    """Return the path of a folder that is a `kind` of `MARKERS`.

    Raises InputError, with a remedy, for a folder that is missing, of another kind, or only holds such folders.
    """
    path, marker = Path(folder), MARKERS[kind]
    if (path / marker).is_file():
        return path
    if not path.exists():
        raise InputError(path, f"there is no folder '{path}'.", f"give the folder that holds the {kind}'s {marker}.")
    if path.is_file():
        raise InputError(path, f"'{path}' is a file, not the folder of a {kind}.", f"give the folder with {marker}.")
    for other, other_marker in MARKERS.items():
        if (path / other_marker).is_file():
            raise InputError(path, f"'{path}' is {_a(other)}, not {_a(kind)}.", HOW_TO_OPEN[other])
    inside = sorted(found.parent for found in path.glob(f"*/{marker}"))[:MAX_NAMED]
    advice = f"give one of its folders: {', '.join(str(found) for found in inside)}." if inside else (
        f"give the folder that holds the {kind}'s {marker}."
    )  # fmt: skip
    raise InputError(path, f"'{path}' is not {_a(kind)}: it has no {marker}.", advice)


def _a(kind: str) -> str:
    return f"an {kind}" if kind[0] in "aeiou" else f"a {kind}"
