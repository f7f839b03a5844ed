"""The control maps of a trained model, as colours."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch

from headforge.diffusion.config import MODEL_KIND
from headforge.flame.model import pose_head
from headforge.report.inputs import Run, read_json
from headforge.report.pictures import feature_colours
from headforge.report.sections.models import chosen_views
from headforge.store.dataset.shards import Dataset
from headforge.types import Camera, HeadParams, MethodOutput, Track


def control_map_pictures(run: Run, model: MethodOutput, n_rows: int) -> Mapping[tuple[str, int], np.ndarray]:
    """Return [H, W, 3] uint8 by (subject, view) for the rows of the comparison grid.

    Empty without predictions or for a model that is not steered by Gaussians.

    The parameters are the tracked ones where the run has them, as for the model's own headline output.
    """
    folder = run.models.get(model)
    if folder is None or run.dataset is None or not run.predictions or not _is_steered(folder):
        return {}
    # Needs diffusers, which a report without a trained model does not.
    from headforge.diffusion.model_files import load_model

    views = chosen_views(run.predictions, model, n_rows)
    inputs = [_inputs(run.dataset, run.tracks.get(key), key) for key in views]
    control = load_model(folder)
    size = control.network.config.image_size
    camera = Camera.stack([camera.resized(size, size) for camera, _ in inputs])
    with torch.no_grad():
        means = control.network.field.means(pose_head(control.head, HeadParams.stack([params for _, params in inputs])))
        maps = control.network.field(means, camera).permute(0, 2, 3, 1).numpy()
    return dict(zip(views, feature_colours(maps[..., :-1], maps[..., -1]), strict=True))


def _is_steered(folder: Path) -> bool:
    is_whole = (folder / "model.safetensors").is_file()
    return is_whole and read_json(folder / "model.json").get("kind") == MODEL_KIND


def _inputs(dataset: Dataset, track: Track | None, key: tuple[str, int]) -> tuple[Camera, HeadParams]:
    if track is not None and track.status == "ok":
        return track.camera, track.params
    views = dataset.parameters()
    row = views.rows[key]
    return views.camera[row], views.params[row]
