"""MediaPipe's face landmarker bundle, stored unchanged."""

from __future__ import annotations

import shutil
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from headforge.errors import InputError
from headforge.pickles import check_downloaded
from headforge.priors.assets import Kind, Options, Sources, one_path
from headforge.priors.tensor_files import AGAIN, ZIP_MAGIC

TASK_FILE = "face_landmarker.task"
MODELS = ("face_detector.tflite", "face_landmarks_detector.tflite")
"""Required members of a face landmarker bundle."""
FLATBUFFER_MARK = b"TFL3"
"""Bytes 4 to 7 of every TensorFlow Lite model."""
HELP = "give face_landmarker.task from MediaPipe's page of models."


def _find(paths: Sequence[Path], options: Options) -> Sources:
    return {"task": one_path(paths, "MediaPipe")}


def _convert(sources: Sources, folder: Path, options: Options) -> dict[str, Any]:
    path = sources["task"]
    if not check_downloaded(path).startswith(ZIP_MAGIC):
        raise InputError(path, f"'{path}' is not a MediaPipe bundle: it is not an archive.", HELP)
    try:
        with zipfile.ZipFile(path) as bundle:
            names, damaged = bundle.namelist(), bundle.testzip()
            models = [name for name in names if name.endswith(".tflite")]
            marks = {name: _mark(bundle, name) for name in models}
    except (zipfile.BadZipFile, EOFError, NotImplementedError, RuntimeError) as error:
        raise InputError(path, f"'{path}' is incomplete ({error}).", AGAIN) from error
    if damaged is not None:
        raise InputError(path, f"'{path}' is damaged: {damaged} in it has another checksum.", AGAIN)
    missing = [name for name in MODELS if name not in names]
    if missing:
        found = f"it lacks {', '.join(missing)} and holds {', '.join(names[:4])}"
        raise InputError(path, f"'{path}' is not a bundle of the face landmarker: {found}.", HELP)
    for name, mark in marks.items():
        if mark != FLATBUFFER_MARK:
            raise InputError(path, f"{name} in '{path}' is not a TensorFlow Lite model.", HELP)
    shutil.copyfile(path, folder / TASK_FILE)
    return {"models": sorted(models)}


def _mark(bundle: zipfile.ZipFile, name: str) -> bytes:
    with bundle.open(name) as model:
        return model.read(8)[4:]


MEDIAPIPE = Kind(
    name="mediapipe",
    title="MediaPipe's face landmarker, 478 points",
    gives="face_landmarker.task",
    licences=("mediapipe",),
    version=1,
    find=_find,
    convert=_convert,
)
