"""A small dataset whose head parameters pose a real head model."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import torch

from headforge.flame.files import save_head
from headforge.flame.model import HeadModel, landmarks, pose_head
from headforge.geometry.cameras import orbit_camera
from headforge.store.dataset.shards import Dataset, write_dataset_json, write_shard
from headforge.store.exchange.heads import HeadFacts
from headforge.types import Camera, HeadParams, Sample
from tests.heads import tiny_head
from tests.store.rows import sample

HEAD = tiny_head()
FACTS = HeadFacts(HEAD.model_id, HEAD.n_vertices, HEAD.n_shape, HEAD.n_expr)
SIZE = 16


def random_params(subject: int, moment: int, head: HeadModel = HEAD) -> HeadParams:
    """The person of a subject in the pose and expression of a moment."""
    person = torch.Generator().manual_seed(subject)
    pose = torch.Generator().manual_seed(1000 * subject + moment)
    neutral = head.neutral()
    moved = {k: 0.2 * torch.randn(v.shape, generator=pose) for k, v in neutral.tensors().items() if k != "shape"}
    return neutral.replace(shape=torch.randn(head.n_shape, generator=person), **moved)


def posed_sample(subject: int, moment: int, camera: int, n_cameras: int) -> Sample:
    """One picture of a rig; its cameras lie at different pitches too."""
    found = orbit_camera(
        20.0 * camera - 30.0, 7.0 * camera, distance_m=1.0, focal_px=40.0 + subject, width=SIZE, height=SIZE
    )
    view = moment * n_cameras + camera
    return dataclasses.replace(
        sample(subject, view), camera=found, params=random_params(subject, moment), timestep=moment,
        camera_id=f"camera_{camera:02d}",
    )  # fmt: skip


def posed_dataset(folder: Path, n_subjects: int = 2, n_moments: int = 4, n_cameras: int = 3) -> Dataset:
    """People before a rig."""
    people = [
        [posed_sample(s, m, c, n_cameras) for m in range(n_moments) for c in range(n_cameras)]
        for s in range(n_subjects)
    ]
    write_shard(folder / "shards" / "part-00000.parquet", people, has_moments=True)
    write_dataset_json(folder, generator="builtin", params={"seed": 0}, licences={"builtin": "MIT"})
    save_head(HEAD, folder / "head_model.safetensors")
    return Dataset(folder)


def one_picture(folder: Path, K: torch.Tensor) -> Dataset:
    """A dataset of one picture with the intrinsics K."""
    found = posed_sample(0, 0, 1, 1)
    found = dataclasses.replace(found, camera=Camera(K, found.camera.viewmat, SIZE, SIZE), view=0)
    write_shard(folder / "shards" / "part-00000.parquet", [[found]])
    write_dataset_json(folder, generator="builtin", params={}, licences={})
    save_head(HEAD, folder / "head_model.safetensors")
    return Dataset(folder)


def find_landmarks(params: HeadParams) -> torch.Tensor:
    return landmarks(HEAD, pose_head(HEAD, params))
