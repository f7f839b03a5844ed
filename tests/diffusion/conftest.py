"""A dataset, a network and a training run small enough for unit tests."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from headforge.diffusion.config import NetworkConfig, TrainConfig
from headforge.diffusion.networks.control import GaussianField
from headforge.diffusion.networks.latent import PatchPCA
from headforge.diffusion.networks.network import Learn2Control
from headforge.flame.files import save_head
from headforge.geometry.cameras import orbit_camera
from headforge.store.dataset.shards import write_dataset_json, write_shard
from headforge.store.dataset.tables import write_tracks
from headforge.types import HeadParams, Sample, Track
from tests.heads import tiny_head

N_SUBJECTS, N_VIEWS, IMAGE_SIZE = 6, 7, 32
NETWORK = NetworkConfig(image_size=16, widths=(16, 16), norm_groups=8, token_dim=8, control_resolution=12)


def tiny_train_config(**changes: object) -> TrainConfig:
    """Six iterations of 2 x 2 pictures with checkpoints in between."""
    values = {"image_size": 16, "n_images_seen": 24, "n_references": 2, "n_targets": 2, "warmup_images": 4,
              "checkpoint_images": 8, "log_images": 8, "reference_yaw_max_deg": 16.0}  # fmt: skip
    return TrainConfig(**{**values, **changes})  # type: ignore[arg-type]


def tiny_samples(subject: int) -> list[Sample]:
    """Views of an ellipsoid whose colour is the identity and whose shading follows the view."""
    head = tiny_head()
    generator = torch.Generator().manual_seed(subject)
    color = torch.rand(3, generator=generator) * 200
    shape = torch.randn(head.n_shape, generator=generator)
    samples = []
    for view in range(N_VIEWS):
        yaw = (view - 1) * 12.0
        camera = orbit_camera(yaw, 0.0, distance_m=0.9, focal_px=80.0, width=IMAGE_SIZE, height=IMAGE_SIZE)
        rows, columns = np.mgrid[:IMAGE_SIZE, :IMAGE_SIZE] + 0.5
        inside = ((columns - 16) / 8) ** 2 + ((rows - 16) / 11) ** 2 < 1
        shade = 1 - 0.4 * np.abs(columns - 16 - yaw / 8) / 16
        image = np.where(inside[..., None], color.numpy() * shade[..., None], 255).astype(np.uint8)
        params = HeadParams.neutral(head.model_id, head.n_shape, head.n_expr).replace(shape=shape)
        samples.append(
            Sample(
                subject_id=f"{subject:06d}",
                view=view,
                split="test" if subject % 3 == 2 else "train",
                source="synthetic",
                seed=subject,
                image=image,
                mask=(inside * 255).astype(np.uint8),
                camera=camera,
                params=params,
                yaw_deg=yaw,
                pitch_deg=0.0,
            )
        )
    return samples


@pytest.fixture(scope="session")
def dataset_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six subjects, two of them held out."""
    folder = tmp_path_factory.mktemp("data") / "synthetic"
    (folder / "shards").mkdir(parents=True)
    write_shard(folder / "shards" / "part-00000.parquet", [tiny_samples(s) for s in range(N_SUBJECTS)])
    save_head(tiny_head(), folder / "head_model.safetensors")
    write_dataset_json(folder, generator="tiny", params={}, licences={})
    return folder


@pytest.fixture(scope="session")
def tracked_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Tracks with slightly wrong cameras; view 3 of subject 2 (held out) was rejected."""
    folder = tmp_path_factory.mktemp("data") / "tracked"
    (folder / "shards").mkdir(parents=True)
    tracks = []
    for subject in range(N_SUBJECTS):
        for sample in tiny_samples(subject):
            viewmat = sample.camera.viewmat.clone()
            viewmat[0, 3] += 0.004
            camera = type(sample.camera)(sample.camera.K, viewmat, IMAGE_SIZE, IMAGE_SIZE)
            bad = (subject, sample.view) == (2, 4)
            status, reason = ("rejected", "too few landmarks") if bad else ("ok", "")
            tracks.append(Track(sample.subject_id, sample.view, status, reason, camera, sample.params, 0.5, 60))
    write_tracks(folder / "shards" / "part-00000.parquet", tracks)
    return folder


def seeded_model(seed: int = 0) -> Learn2Control:
    """An untrained model on the tiny head whose output is not silent."""
    images = np.stack([sample.image[::2, ::2] for s in range(2) for sample in tiny_samples(s)])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        field = GaussianField.on_head(tiny_head(), NETWORK.control_resolution, NETWORK.control_channels, seed)
        model = Learn2Control(NETWORK, field, PatchPCA.fit(images, NETWORK.patch, NETWORK.n_components))
        torch.nn.init.normal_(model.denoiser.conv_out.weight, std=0.05)
    return model
