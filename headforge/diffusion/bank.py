"""Views for training and sampling, held in memory at the model's picture size."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from headforge.diffusion.config import DOMAINS
from headforge.diffusion.networks.control import GaussianField
from headforge.errors import DataError
from headforge.flame.model import HeadModel, pose_head
from headforge.store.dataset.shards import Dataset
from headforge.store.dataset.tables import read_tracks
from headforge.store.images import area_resize
from headforge.types import Camera, HeadParams, Sample, Track

POSE_CHUNK = 64
"""Views posed at once; bounds the memory of skinning."""


@dataclass(frozen=True)
class ViewBank:
    """N views with their control parameters and cameras; the rows of a subject are contiguous."""

    images: np.ndarray
    """[N, S, S, 3] uint8, area-averaged."""
    camera: Camera
    """[N], of the S x S pictures."""
    params: HeadParams
    """[N]."""
    keys: tuple[tuple[str, int], ...]
    """[N] (subject_id, view)."""
    domains: Tensor
    """[N] int64, indices into `DOMAINS`."""
    yaw_deg: np.ndarray
    """[N] true azimuth."""

    @property
    def rows(self) -> dict[tuple[str, int], int]:
        """Row of each (subject_id, view)."""
        return {key: row for row, key in enumerate(self.keys)}

    def subjects(self) -> dict[str, list[int]]:
        """Return the rows of each subject, in order."""
        found: dict[str, list[int]] = {}
        for row, (subject_id, _) in enumerate(self.keys):
            found.setdefault(subject_id, []).append(row)
        return found

    def to(self, device: torch.device | str) -> ViewBank:
        """Return the views with cameras, parameters and domains on `device`; the pictures stay in host memory."""
        return replace(
            self, camera=self.camera.to(device), params=self.params.to(device), domains=self.domains.to(device)
        )

    def pictures(self, rows: Tensor) -> Tensor:
        """Return pictures [B, 3, S, S] float in [0, 1] of rows [B] (on the CPU), on the bank's device."""
        levels = torch.from_numpy(self.images[rows.numpy()]).to(self.domains.device)
        return levels.permute(0, 3, 1, 2).float() / 255

    def means(self, head: HeadModel, field: GaussianField) -> Tensor:
        """Return Gaussian centres [N, n_gaussians, 3] of all rows; they don't depend on learned values."""
        chunks = [
            field.means(pose_head(head, self.params[i : i + POSE_CHUNK])) for i in range(0, len(self.keys), POSE_CHUNK)
        ]
        return torch.cat(chunks)


def load_bank(
    dataset: Dataset, subject_ids: Iterable[str], tracks: Mapping[tuple[str, int], Track] | None, image_size: int
) -> ViewBank:
    """Load every view of the subjects onto the CPU; `ViewBank.to` moves it.

    With `tracks`, the views are controlled by the tracked parameters, and rejected views are left out.
    """
    samples: list[Sample] = []
    images: list[np.ndarray] = []
    for subject_id in subject_ids:
        for sample in dataset.samples(subject_id):
            if tracks is None or is_tracked(tracks, sample):
                samples.append(sample)
                images.append(area_resize(sample.image, image_size))
    if not samples:
        raise DataError(dataset.folder, "none of the requested views could be tracked.",
                        "look at the tracking stage's rejects.")  # fmt: skip
    controls: list[Sample | Track] = [s if tracks is None else tracks[s.subject_id, s.view] for s in samples]
    return ViewBank(
        images=np.stack(images),
        camera=Camera.stack([c.camera for c in controls]).resized(image_size, image_size),
        params=HeadParams.stack([c.params for c in controls]),
        keys=tuple((s.subject_id, s.view) for s in samples),
        domains=torch.tensor([DOMAINS.index(s.source) for s in samples], device="cpu"),
        yaw_deg=np.array([s.yaw_deg for s in samples]),
    )


def is_tracked(tracks: Mapping[tuple[str, int], Track], sample: Sample) -> bool:
    """Return whether tracking accepted the sample's view."""
    track = tracks.get((sample.subject_id, sample.view))
    return track is not None and track.status == "ok"


def read_tracks_of(folder: Path | None) -> Mapping[tuple[str, int], Track] | None:
    """Read the tracks of a folder; None stands for exact parameters."""
    return None if folder is None else read_tracks(folder)


@contextmanager
def torch_threads(n_threads: int) -> Iterator[None]:
    """Hold the number of CPU threads fixed: sums, and so results, depend on it."""
    before = torch.get_num_threads()
    torch.set_num_threads(n_threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)
