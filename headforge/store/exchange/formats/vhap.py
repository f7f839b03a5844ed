"""The result of VHAP's tracker, `tracked_flame_params_*.npz`, as tracks.

Source: ShenhanQian/VHAP, `save_result` and `fill_cam_params_into_sample` of its tracker, `replace_cam_params` of its
export. Uncalibrated pictures share one camera: at (0, 0, 1), looking along -z, with a focal length in multiples of the
longer side; the head moves in front of it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from headforge.errors import InputError
from headforge.geometry.cameras import opengl_c2w_to_viewmat, pinhole_matrix
from headforge.progress import SILENT, Progress
from headforge.store.dataset.tables import write_tracks
from headforge.store.exchange.folders import new_folder
from headforge.store.exchange.formats.flame_params import offset_of_arrays, params_of_arrays, read_arrays
from headforge.store.exchange.heads import HeadFacts, write_static_offsets
from headforge.types import Camera, Track

CAMERA_Z_M = 1.0
CALIBRATED_HELP = (
    "run VHAP's export_as_nerf_dataset, whose folder holds the cameras, and import that: --from gaussianavatars."
)
FILE_HELP = "give a tracked_flame_params_*.npz of VHAP, and the head model it was tracked with."


@dataclass(frozen=True)
class ImportedTracks:
    """Summary of an import of tracks."""

    folder: Path
    n_views: int


def import_vhap_tracks(
    path: Path, output: Path, head: HeadFacts, subject_id: str, progress: Progress = SILENT
) -> ImportedTracks:
    """Write the tracks of VHAP's npz `path` as the new folder `output`, one row per moment, `view` its number.

    VHAP states no residuals and no landmark counts: they are null and 0. A nonzero static offset is written beside the
    shards. Raises InputError for another kind of file, for one without a focal length (calibrated cameras, which the
    file does not contain), and for parameters of another head model.
    """
    arrays = read_arrays(path)
    camera = _camera(path, arrays)
    try:
        params, offset = params_of_arrays(arrays, head), offset_of_arrays(arrays, head)
    except ValueError as error:
        raise InputError(path, f"{path} {error}.", FILE_HELP) from error
    n_views = len(params.expr)
    progress.start(n_views, "view")
    tracks = [Track(subject_id, view, "ok", "", camera, params[view], math.nan, 0) for view in range(n_views)]
    with new_folder(output) as folder:
        write_tracks(folder / "shards" / "part-00000.parquet", tracks)
        write_static_offsets(folder, {subject_id: offset})
    progress.item_done(subject_id, n_views)
    return ImportedTracks(output, n_views)


def _camera(path: Path, arrays: Mapping[str, np.ndarray]) -> Camera:
    focal, size = arrays.get("focal_length"), arrays.get("image_size")
    if focal is None:
        raise InputError(path, f"{path} has no focal_length: its cameras were calibrated and are not in it.",
                         CALIBRATED_HELP)  # fmt: skip
    if size is None or size.size != 2 or focal.size != 1 or not float(focal.item()) > 0:
        raise InputError(path, f"{path} has no image_size of two numbers or no focal_length above 0.", FILE_HELP)
    height, width = (int(value) for value in size.ravel())
    c2w = torch.eye(4)
    c2w[2, 3] = CAMERA_Z_M
    K = pinhole_matrix(float(focal.item()) * max(height, width), width, height)
    return Camera(K, opengl_c2w_to_viewmat(c2w), width, height)
