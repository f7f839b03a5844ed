"""The control pictures a trained model is steered with, as colours."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch

from headforge.flame.model import pose_head
from headforge.report.inputs import Run
from headforge.report.pictures import feature_colours
from headforge.report.sections.control import chosen_views
from headforge.store.dataset.shards import Dataset
from headforge.types import Camera, HeadParams, Track


def control_map_pictures(run: Run, n_rows: int) -> Mapping[tuple[str, int], np.ndarray]:
    """[H, W, 3] uint8 by (subject, view) for the rows of the comparison grid; empty without model or predictions.

    The parameters are the tracked ones where the run has them, as for the model's own headline output.
    """
    if run.models is None or run.dataset is None or not run.predictions:
        return {}
    if not (run.models / "model.safetensors").is_file():
        return {}
    # Needs diffusers, which a report without a trained model can do without.
    from headforge.diffusion.model_files import load_model

    views = chosen_views(run.predictions, n_rows)
    inputs = [_inputs(run.dataset, run.tracks.get(key), key) for key in views]
    model = load_model(run.models)
    size = model.network.config.image_size
    camera = Camera.stack([camera.resized(size, size) for camera, _ in inputs])
    with torch.no_grad():
        means = model.network.field.means(pose_head(model.head, HeadParams.stack([params for _, params in inputs])))
        maps = model.network.field(means, camera).permute(0, 2, 3, 1).numpy()
    return dict(zip(views, feature_colours(maps[..., :-1], maps[..., -1]), strict=True))


def _inputs(dataset: Dataset, track: Track | None, key: tuple[str, int]) -> tuple[Camera, HeadParams]:
    if track is not None and track.status == "ok":
        return track.camera, track.params
    views = dataset.parameters()
    row = views.rows[key]
    return views.camera[row], views.params[row]
