"""Baselines without the model: a copy of the reference, the mean picture, reprojected colours.

They write predictions of the same targets as `generate`, in the same format.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import grid_sample

from headforge.devices import resolve_device
from headforge.diffusion.bank import ViewBank, load_bank, read_tracks_of, torch_threads
from headforge.diffusion.config import GenerateConfig
from headforge.diffusion.generate import to_uint8
from headforge.diffusion.networks.control import GaussianField
from headforge.diffusion.targets import Target, heldout_targets
from headforge.flame.files import load_head
from headforge.flame.model import HeadModel, pose_head
from headforge.geometry.cameras import project
from headforge.progress import SILENT, Progress
from headforge.render.splatting.splat import splat
from headforge.store.dataset.shards import Dataset
from headforge.store.dataset.tables import write_predictions
from headforge.store.images import area_resize
from headforge.types import Camera, Prediction

VERSION = 1
FIELD_RESOLUTION = 96
"""Texture side in texels of the Gaussians with reprojected colours: more than one per pixel of a small picture."""
VISIBLE_DEPTH_M = 0.012
"""A Gaussian deeper than this behind the surface visible in the reference is hidden there."""
BACKGROUND = 1.0
"""White."""


@torch.no_grad()
def write_baselines(
    config: GenerateConfig, dataset: Path, tracked: Path | None, image_size: int, output: Path,
    progress: Progress = SILENT, *, device: str = "cpu",
) -> None:  # fmt: skip
    """Write "copy", "mean", "reproject_tracked" and "reproject_exact" of the held-out targets to `output`.

    Pictures are `image_size` pixels a side; colours are reprojected on `device`. The mean is over every view of the
    training identities.
    """
    place = resolve_device(device)
    data = Dataset(dataset)
    head = load_head(data.head).to(place)
    subjects = data.subject_ids("test")[: config.n_identities]
    exact = load_bank(data, subjects, None, image_size)
    tracks = read_tracks_of(tracked)
    banks = {"reproject_exact": exact} if config.with_exact or tracks is None else {}
    if tracks is not None:
        banks["reproject_tracked"] = load_bank(data, subjects, tracks, image_size)
    targets = heldout_targets(banks.get("reproject_tracked", exact), config.n_reference_views, config.n_targets)
    mean = mean_picture(data, image_size)
    progress.start((2 + len(banks)) * len(targets), "image")
    rows = exact.rows
    predictions: list[Prediction] = []
    for target in targets:
        key = (target.subject_id, target.view)
        copied = exact.images[rows[target.subject_id, target.reference_view]]
        predictions.append(Prediction(*key, "copy", target.reference_view, copied))
        predictions.append(Prediction(*key, "mean", -1, mean))
    progress.item_done("copy and mean", 2 * len(targets))
    field = GaussianField.on_head(head, FIELD_RESOLUTION, 3, seed=0)
    with torch_threads(config.n_threads):
        for method, bank in banks.items():
            predictions += reproject(head, field, bank.to(place), targets, method)
            progress.item_done(method, len(targets))
    predictions.sort(key=lambda p: (p.subject_id, p.view, p.method))
    write_predictions(output, predictions)


def mean_picture(data: Dataset, image_size: int) -> np.ndarray:
    """Return the mean [S, S, 3] uint8 of all training pictures."""
    total, count = np.zeros((image_size, image_size, 3)), 0
    for subject_id in data.subject_ids("train"):
        for sample in data.samples(subject_id):
            total += area_resize(sample.image, image_size)
            count += 1
    return np.round(total / max(count, 1)).astype(np.uint8)


def reproject(
    head: HeadModel, field: GaussianField, bank: ViewBank, targets: Sequence[Target], method: str
) -> list[Prediction]:
    """Return predictions of `targets`; colours are sampled once per reference."""
    rows = bank.rows
    grouped: dict[tuple[str, int], list[Target]] = {}
    for target in targets:
        grouped.setdefault((target.subject_id, target.reference_view), []).append(target)
    found: list[Prediction] = []
    for reference, members in grouped.items():
        places = torch.tensor([rows[reference], *(rows[t.subject_id, t.view] for t in members)], device="cpu")
        means = field.means(pose_head(head, bank.params[places]))
        colors = reference_colors(field, means[0], bank.camera[places[:1]], bank.pictures(places[:1]))
        images = to_uint8(draw(field, means[1:], colors, bank.camera[places[1:]]))
        for target, image in zip(members, images, strict=True):
            found.append(Prediction(target.subject_id, target.view, method, target.reference_view, image))
    return found


def reference_colors(field: GaussianField, means: Tensor, camera: Camera, image: Tensor) -> Tensor:
    """Return colours [N, 3] of Gaussians at `means` [N, 3], sampled from the reference [1, 3, S, S].

    A Gaussian hidden in the reference takes the colour of the nearest visible one.
    """
    drawn = splat(
        means[None], None, field.log_scales.exp(), field.opacity_logits.sigmoid(), means.new_zeros(len(means), 1),
        camera.viewmat[:, None], camera.K[:, None], camera.width, camera.height, render_mode="RGB+ED",
    )  # fmt: skip
    pixels, depth = project(camera, means[None])
    grid = (2 * pixels / pixels.new_tensor([camera.width, camera.height]) - 1)[:, None]
    seen_depth = grid_sample(drawn.image[:, 0, ..., 1:].permute(0, 3, 1, 2), grid, mode="nearest", align_corners=False)
    alpha = grid_sample(drawn.alpha[:, 0].permute(0, 3, 1, 2), grid, align_corners=False)[0, 0, 0]
    colors = grid_sample(image, grid, align_corners=False, padding_mode="border")[0, :, 0].T
    visible = (depth[0] < seen_depth[0, 0, 0] + VISIBLE_DEPTH_M) & (alpha > 0.9)
    if not bool(visible.any()):
        return torch.full_like(colors, BACKGROUND)
    nearest = torch.cdist(means, means[visible]).argmin(1)
    return torch.where(visible[:, None], colors, colors[visible][nearest])


def draw(field: GaussianField, means: Tensor, colors: Tensor, camera: Camera) -> Tensor:
    """Render pictures [B, 3, S, S] of Gaussians at `means` [B, N, 3] with `colors` [N, 3] over white."""
    drawn = splat(
        means, None, field.log_scales.exp(), field.opacity_logits.sigmoid(), colors, camera.viewmat[:, None],
        camera.K[:, None], camera.width, camera.height,
        backgrounds=means.new_full((len(means), 1, 3), BACKGROUND),
    )  # fmt: skip
    return drawn.image[:, 0].permute(0, 3, 1, 2).clamp(0, 1)
