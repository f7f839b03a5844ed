"""A project's results, made by its own functions at a size for tests."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from headforge.avatar.config import FitConfig
from headforge.avatar.output import Avatar, write_avatar
from headforge.diffusion.model_files import save_model
from headforge.diffusion.networks.control import GaussianField
from headforge.diffusion.networks.latent import PatchPCA
from headforge.diffusion.networks.network import Learn2Control
from headforge.flame.builtin.head import builtin_head
from headforge.flame.files import HEAD_FILE
from headforge.progress import SILENT
from headforge.store.dataset.shards import Dataset
from headforge.store.images import area_resize
from headforge.synth.config import SynthesizeConfig
from headforge.synth.synthesize import assemble_dataset
from headforge.types import HeadParams
from tasks.synthesize import head_item, shard_items
from tests.avatar.scenes import painted_head
from tests.diffusion.conftest import NETWORK


@pytest.fixture(scope="session")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with data/synthetic, data/models and data/avatars/astronaut, all on the builtin head."""
    root = tmp_path_factory.mktemp("project")
    dataset = make_dataset(root / "data" / "synthetic", root / "parts")
    make_model(root / "data" / "models", dataset)
    make_avatar(root / "data" / "avatars" / "astronaut")
    return root


def make_dataset(folder: Path, parts: Path) -> Dataset:
    """Three people, two views of each."""
    config = SynthesizeConfig(n_subjects=3, subjects_per_shard=3, views_per_subject=2, image_size=32)
    items = [*shard_items(config), head_item()]
    made = [parts / str(number) for number in range(len(items))]
    for item, part in zip(items, made, strict=True):
        part.mkdir(parents=True)
        item.function(*item.args, part, SILENT)
    assemble_dataset(config, made[:-1], folder, made[-1] / HEAD_FILE)
    return Dataset(folder)


def make_model(folder: Path, dataset: Dataset) -> None:
    """An untrained network whose output is not silent."""
    pictures = torch.stack([torch.from_numpy(area_resize(s.image, NETWORK.image_size)) for s in dataset]).numpy()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        field = GaussianField.on_head(builtin_head(), NETWORK.control_resolution, NETWORK.control_channels, 0)
        model = Learn2Control(NETWORK, field, PatchPCA.fit(pictures, NETWORK.patch, NETWORK.n_components))
        torch.nn.init.normal_(model.denoiser.conv_out.weight, std=0.05)
    save_model(folder, model, dataset.head, {})


def make_avatar(folder: Path) -> None:
    """A few thousand Gaussians on the skin in a pattern of colours."""
    head = builtin_head()
    folder.mkdir(parents=True)
    avatar = Avatar(painted_head(head, 3000), head.neutral(), HeadParams.stack([head.neutral()]))
    write_avatar(folder, head, avatar, FitConfig(turntable_size=16), {"subject_id": folder.name})
