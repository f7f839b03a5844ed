"""The stage `fit`: rigged Gaussian avatars of dataset subjects and of portraits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from headforge.avatar.config import FitConfig
from headforge.avatar.hull import hair_gaussians
from headforge.avatar.optimise import WeightedView, optimise
from headforge.avatar.output import Avatar, write_avatar
from headforge.avatar.portrait.portrait import fit_portrait
from headforge.avatar.render import render_avatar, to_uint8
from headforge.avatar.rig import RiggedGaussians, concatenate, posed_vertices
from headforge.avatar.surface import skin_gaussians
from headforge.avatar.views import View, look_at_views, make_view, with_colors
from headforge.devices import resolve_device
from headforge.errors import Rejected
from headforge.flame.files import load_head
from headforge.flame.model import HeadModel
from headforge.geometry.seeding import item_seed
from headforge.progress import SILENT, Progress
from headforge.store.dataset.shards import Dataset
from headforge.store.dataset.tables import read_tracks, write_predictions
from headforge.store.images import area_resize
from headforge.types import Camera, HeadParams, Prediction, Sample, Track

__all__ = ["VERSION", "FitConfig", "fit_portrait", "fit_subject", "fit_views"]

VERSION = 2
"""Increased whenever the same inputs give another avatar."""
MIN_TRAINING_VIEWS = 2
MIN_FOREGROUND = 0.6
"""Least share of a hair Gaussian's blending weight on the foreground; hair below it is left out."""


@dataclass(frozen=True)
class Pose:
    """Camera and parameters of one view, estimated or exact; the camera has the dataset's image size."""

    camera: Camera
    params: HeadParams


def is_heldout(view: int, every: int) -> bool:
    """Return whether a view is held out for scoring: one in each block of `every`.

    Its position advances by one from block to block, because samplers that spread their views (low-discrepancy
    sequences) give every fourth view nearly the same azimuth.
    """
    block, place = divmod(view, every)
    return place == (block + 1) % every


def fit_subject(
    config: FitConfig,
    dataset: Path,
    tracked: Path | None,
    subject_id: str,
    output: Path,
    progress: Progress = SILENT,
    *,
    device: str = "cpu",
) -> None:
    """Fit one subject of a dataset; write its avatar folder `output` with predictions of the held-out views.

    `tracked`: the folder or file of tracks to take cameras and parameters from; None takes the dataset's exact ones.
    The computation runs on `device`. Raises Rejected when too few views of the subject are tracked.
    """
    place = resolve_device(device)
    data = Dataset(dataset)
    head = load_head(data.head).to(place)
    samples = data.samples(subject_id)
    poses = exact_poses(samples) if tracked is None else tracked_poses(read_tracks(tracked), samples)
    usable = [sample for sample in samples if sample.view in poses]
    training = [sample for sample in usable if not is_heldout(sample.view, config.heldout_every)]
    heldout = [sample for sample in usable if is_heldout(sample.view, config.heldout_every)]
    if len(training) < MIN_TRAINING_VIEWS:
        raise Rejected(
            subject_id, "views", f"{len(training)} training views have a pose, at least {MIN_TRAINING_VIEWS} needed",
            "track the subject with a larger `views_per_subject`, or look at why its tracks were rejected.",
        )  # fmt: skip
    fitted = _fit_poses(config, head, training, poses, progress)
    kind = "exact" if tracked is None else "tracked"
    predictions = _predict_all(config, head, fitted, heldout, poses, f"avatar_{kind}")
    if tracked is not None and config.also_exact:
        exact = exact_poses(samples)
        twin = _fit_poses(config, head, training, exact, SILENT)
        predictions += _predict_all(config, head, twin, heldout, exact, "avatar_exact")
    output.mkdir(parents=True, exist_ok=True)
    avatar = Avatar(*fitted, HeadParams.stack([poses[sample.view].params for sample in usable]))
    provenance = {
        "subject_id": subject_id,
        "source": samples[0].source,
        "poses": kind,
        "attributes": dict(samples[0].attributes),
        "training_views": [sample.view for sample in training],
        "heldout_views": [sample.view for sample in heldout],
        "licence": "as the dataset's; nothing else went into the avatar",
    }
    write_avatar(output, head, avatar, config, provenance)
    write_predictions(output / "predictions.parquet", predictions)
    progress.image("frontal", output / "frontal.png")


def _fit_poses(
    config: FitConfig, head: HeadModel, training: Sequence[Sample], poses: Mapping[int, Pose], progress: Progress
) -> tuple[RiggedGaussians, HeadParams]:
    """Fit the training views; return the Gaussians and the subject's parameters at rest."""
    views = [sample_view(head, sample, poses[sample.view], config.image_size) for sample in training]
    params = mean_identity([poses[sample.view].params for sample in training]).to(head.device)
    return fit_views(config, head, views, params, training[0].subject_id, progress), params


def _predict_all(
    config: FitConfig,
    head: HeadModel,
    fitted: tuple[RiggedGaussians, HeadParams],
    samples: Sequence[Sample],
    poses: Mapping[int, Pose],
    method: str,
) -> list[Prediction]:
    return [predict(fitted[0], head, sample, poses[sample.view], config, method) for sample in samples]


def exact_poses(samples: Sequence[Sample]) -> dict[int, Pose]:
    """Return the dataset's own cameras and parameters by view."""
    return {sample.view: Pose(sample.camera, sample.params) for sample in samples}


def tracked_poses(tracks: dict[tuple[str, int], Track], samples: Sequence[Sample]) -> dict[int, Pose]:
    """Return estimated cameras and parameters by view, for the views that tracking accepted."""
    found = {sample.view: tracks.get((sample.subject_id, sample.view)) for sample in samples}
    return {view: Pose(t.camera, t.params) for view, t in found.items() if t is not None and t.status == "ok"}


def sample_view(head: HeadModel, sample: Sample, pose: Pose, size: int) -> View:
    """Return a sample on the head's device, averaged down to `size` pixels if it is larger."""
    size = min(size, sample.image.shape[0])
    image, mask = (
        torch.from_numpy(area_resize(pixels, size).astype("float32") / 255).to(head.device)
        for pixels in (sample.image, sample.mask)
    )
    return make_view(head, image, mask, pose.camera.to(head.device), pose.params.to(head.device))


def mean_identity(params: Sequence[HeadParams]) -> HeadParams:
    """Return unbatched neutral parameters with the mean shape."""
    stacked = HeadParams.stack(params)
    zeros = {name: torch.zeros_like(value[0]) for name, value in stacked.tensors().items()}
    return HeadParams(stacked.model_id, **(zeros | {"shape": stacked.shape.mean(0)}))


def initial_gaussians(
    config: FitConfig, head: HeadModel, views: Sequence[View], params: HeadParams, subject_id: str
) -> RiggedGaussians:
    """Return skin and hair Gaussians coloured from the views."""
    vertices = posed_vertices(head, params)
    parts = [skin_gaussians(head, vertices, config.n_skin, config.sh_degree)]
    if config.n_hair:
        seed = item_seed(config.seed, "hair", subject_id)
        hair = hair_gaussians(head, vertices, views, config.n_hair, config.hair_shell_m, config.sh_degree, seed)
        parts.append(hair)
    rigged = concatenate(parts)
    seen = look_at_views(rigged, head, views)
    is_outside = rigged.is_free & (seen.foreground < MIN_FOREGROUND * seen.total)
    return with_colors(rigged, seen.colors)[~is_outside]


def fit_views(
    config: FitConfig,
    head: HeadModel,
    views: Sequence[View],
    params: HeadParams,
    subject_id: str,
    progress: Progress = SILENT,
) -> RiggedGaussians:
    """Optimise Gaussians initialised on the surface and in the visual hull. `params`: at rest, unbatched."""
    torch.set_num_threads(1)  # parallel sums depend on the thread count
    start = initial_gaussians(config, head, views, params, subject_id)
    weighted = [WeightedView(view) for view in views]
    return optimise(config, head, start, weighted, config.n_iterations, report=progress.metric)


def predict(
    rigged: RiggedGaussians, head: HeadModel, sample: Sample, pose: Pose, config: FitConfig, method: str
) -> Prediction:
    """Render the avatar's prediction of one view."""
    size = min(config.image_size, sample.image.shape[0])
    camera = pose.camera.resized(size, size).to(head.device)
    image = render_avatar(rigged, head, pose.params.to(head.device), camera)
    return Prediction(sample.subject_id, sample.view, method, -1, to_uint8(image).cpu().numpy())
