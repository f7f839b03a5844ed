"""The baselines beside the model."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from headforge.diffusion.bank import load_bank
from headforge.diffusion.baselines import draw, mean_picture, reference_colors, write_baselines
from headforge.diffusion.config import GenerateConfig
from headforge.diffusion.networks.control import GaussianField
from headforge.flame.model import pose_head
from headforge.geometry.cameras import orbit_camera
from headforge.store.dataset.shards import Dataset
from headforge.store.dataset.tables import read_predictions
from tests.heads import tiny_head

CONFIG = GenerateConfig(n_reference_views=3, n_targets=2)


def test_predictions_of_every_baseline(dataset_folder: Path, tracked_folder: Path, tmp_path: Path) -> None:
    write_baselines(CONFIG, dataset_folder, tracked_folder, 16, tmp_path / "p.parquet")
    found = read_predictions(tmp_path / "p.parquet")
    dataset = Dataset(dataset_folder)
    methods = {p.method: p for p in found if (p.subject_id, p.view) == ("000002", 5)}
    assert sorted(methods) == ["copy", "mean", "reproject_exact", "reproject_tracked"]
    bank = load_bank(dataset, ["000002"], None, 16)
    assert np.array_equal(methods["copy"].image, bank.images[bank.rows["000002", 0]])
    assert methods["mean"].reference_view == -1
    assert np.array_equal(methods["mean"].image, mean_picture(dataset, 16))
    assert not np.array_equal(methods["reproject_exact"].image, methods["reproject_tracked"].image)


@pytest.mark.parametrize("yaw_deg", [0.0, 20.0])
@torch.no_grad()
def test_reprojected_colours_move_with_the_surface(yaw_deg: float) -> None:
    head = tiny_head()
    field = GaussianField.on_head(head, 48, 3, seed=0)
    means = field.means(pose_head(head, head.neutral((1,))))
    truth = (means[0] / torch.tensor([0.15, 0.23, 0.19]) + 0.5).clamp(0, 1)
    cameras = orbit_camera(torch.tensor([0.0, yaw_deg]), 0.0, distance_m=0.9, focal_px=80.0, width=32, height=32)
    pictures = draw(field, means.expand(2, -1, -1), truth, cameras)
    colors = reference_colors(field, means[0], cameras[:1], pictures[:1])
    found = draw(field, means, colors, cameras[1:])
    # Silhouettes mix with the background and the right side was hidden; the rest must be right.
    inside = (slice(None), slice(9, 23), slice(11, 17))
    torch.testing.assert_close(found[0][inside], pictures[1][inside], atol=0.06, rtol=0)
    if yaw_deg:
        assert float((pictures[0][inside] - pictures[1][inside]).abs().max()) > 0.1
