"""EG3D's `dataset.json`: {"labels": [["00000/img00000000.png", [25 numbers]], ...]} beside the pictures.

Source: NVlabs/eg3d, dataset_tool and training/dataset.py. EG3D reads every picture below its folder
and requires a label for each, so masks and the columns unknown to EG3D are in `rows.parquet`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import IO

import torch

from headforge.errors import InputError
from headforge.geometry.cameras import camera_to_eg3d, eg3d_to_camera
from headforge.store.dataset.tables import Reject
from headforge.store.exchange.folders import require_plain_name
from headforge.store.exchange.frames import Frame, frame_reject, numbers, read_json
from headforge.store.exchange.rows import RowsWriter, StoredView, stored_camera, view_name
from headforge.store.exchange.source import ImportConfig, ImportSource
from headforge.store.exchange.writing import ExportFacts
from headforge.store.files import path_inside

LABELS = "dataset.json"
N_LABEL = 25
MIRRORED = "_mirror"
"""Name suffix of the mirrored copies that EG3D's tool adds; the person is the same."""
FORMAT_HELP = "give a dataset.json of EG3D, or the folder that holds it."


class _Labels:
    """Writes a `dataset.json` label by label, so that 600,000 labels need not be in memory."""

    def __init__(self, stack: ExitStack, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file: IO[str] = stack.enter_context(path.open("w"))
        self._file.write('{"labels": [')
        self._n = 0
        stack.callback(self._file.write, "\n]}\n")

    def write(self, name: str, label: list[float]) -> None:
        self._file.write(f"{',' if self._n else ''}\n{json.dumps([name, label], allow_nan=False)}")
        self._n += 1


def write_eg3d(subjects: Iterator[list[StoredView]], facts: ExportFacts, folder: Path) -> Mapping[str, object]:
    """Write `<split>/<subject>/<view>.png` and labels: `dataset.json` for all, `<split>/dataset.json` for each split.

    Training on `<split>` uses no person of another split. Cameras stay in metres.
    """
    with ExitStack() as stack, RowsWriter(folder, with_masks=True) as rows:
        everything = _Labels(stack, folder / LABELS)
        of_split: dict[str, _Labels] = {}
        for views in subjects:
            split = require_plain_name(views[0]["split"])
            subject_id = require_plain_name(views[0]["subject_id"])
            if split not in of_split:
                of_split[split] = _Labels(stack, folder / split / LABELS)
            (folder / split / subject_id).mkdir()
            names = [f"{subject_id}/{view_name(row)}.png" for row in views]
            for row, name in zip(views, names, strict=True):
                (folder / split / name).write_bytes(row["image"])
                label = camera_to_eg3d(stored_camera(row)).tolist()
                of_split[split].write(name, label)
                everything.write(f"{split}/{name}", label)
            rows.write(views, [f"{split}/{name}" for name in names])
    return {}


def eg3d_frames(config: ImportConfig, source: ImportSource) -> Iterator[Frame | Reject]:
    """Yield the frames that a `dataset.json` labels, in its order, and rejects for invalid entries.

    `source.images` is by default the JSON's folder. A person is one picture and its mirrored copy, or, with
    `config.by_folder`, all pictures of one folder. Raises InputError if the file is not a list of labels.
    """
    file = source.path / LABELS if source.path.is_dir() else source.path
    content = read_json(file, FORMAT_HELP)
    labels = content.get("labels") if isinstance(content, dict) else None
    if not isinstance(labels, list):
        raise InputError(file, f"{file} has no list 'labels'.", FORMAT_HELP)
    root, masks = source.images or file.parent, source.masks
    counts: dict[str, int] = {}
    for number, entry in enumerate(labels):
        if not (isinstance(entry, list) and len(entry) == 2 and isinstance(entry[0], str)):
            yield frame_reject(f"label {number}", "label", "is not a pair of a name and 25 numbers")
            continue
        name = entry[0].replace("\\", "/")
        picture, mask = path_inside(root, name), None if masks is None else path_inside(masks, name)
        label = numbers(entry[1], N_LABEL)
        if picture is None:
            yield frame_reject(name, "path", "leads out of the folder of the pictures")
        elif label is None:
            yield frame_reject(name, "label", f"has a label that is not {N_LABEL} finite numbers")
        else:
            subject = str(Path(name).parent) if config.by_folder else Path(name).stem.removesuffix(MIRRORED)
            view = counts.get(subject, 0)
            counts[subject] = view + 1
            yield Frame(
                name, subject, view, picture, mask, partial(eg3d_to_camera, torch.tensor(label, dtype=torch.float64))
            )
