"""dlib's models from user-supplied files, in place of the package `face_recognition_models`."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from headforge.errors import InputError
from headforge.pickles import check_downloaded
from headforge.priors.assets import Kind, Options, Sources
from headforge.priors.faces.dlib_faces import EMBEDDING_FILE, LANDMARKS_FILE, DlibFaces
from headforge.store.files import sha256_file

PUBLISHED: Mapping[str, str] = {
    LANDMARKS_FILE: "fbdc2cb80eb9aa7a758672cbfdda32ba6300efe9b6e6c7a299ff7e736b11b92f",
    EMBEDDING_FILE: "55533b28a95800a551ba546ba62fe69625c7e95a7061c338adffead08719da30",
}
"""SHA-256 of the files that dlib's author published."""
COMPRESSED = b"BZh"
HELP = "unpack the .bz2 files from dlib's page of models and give both, or the folder that holds them."


def _find(paths: Sequence[Path], options: Options) -> Sources:
    files = [file for path in paths for file in (sorted(path.iterdir()) if path.is_dir() else [path])]
    found = {file.name: file for file in files if file.name in PUBLISHED}
    missing = [name for name in PUBLISHED if name not in found]
    if missing:
        where = " ".join(str(path) for path in paths)
        raise InputError(where, f"'{where}' lacks {' and '.join(missing)}.", HELP)
    return found


def _convert(sources: Sources, folder: Path, options: Options) -> dict[str, Any]:
    for path in sources.values():
        if check_downloaded(path).startswith(COMPRESSED):
            raise InputError(path, f"'{path}' is compressed.", HELP)
    for name, path in sources.items():
        shutil.copyfile(path, folder / name)
    for name, error in DlibFaces(folder).broken_files().items():
        raise InputError(sources[name], f"dlib can't read '{sources[name]}' ({error}).", HELP)
    return {"as_published": {name: sha256_file(path) == PUBLISHED[name] for name, path in sources.items()}}


DLIB = Kind(
    name="dlib",
    title="dlib's 68 landmarks and 128-d identity embedding",
    gives=f"{LANDMARKS_FILE} and {EMBEDDING_FILE}, or their folder",
    licences=("dlib-models", "ibug-300w"),
    version=1,
    find=_find,
    convert=_convert,
)
