"""Pictures, noise and steps of a training iteration: a function of (seed, images seen) alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from headforge.diffusion.loss import stratified_steps
from headforge.errors import ConfigError
from headforge.geometry.seeding import item_seed


@dataclass(frozen=True)
class Batch:
    """R references with M targets each; the targets of reference r are r * M .. r * M + M - 1."""

    references: Tensor
    """[R] rows."""
    targets: Tensor
    """[R * M] rows: other views of the reference's subject."""
    steps: Tensor
    """[R * M] int64 in 1 .. N_STEPS."""
    noise: Tensor
    """[R * M, *latent_shape]."""

    def to(self, device: torch.device | str) -> Batch:
        """Return the same batch with steps and noise on `device`; rows stay on the CPU, as `ViewBank` requires."""
        return replace(self, steps=self.steps.to(device), noise=self.noise.to(device))


class BatchMaker:
    """Draws batches from subjects with given rows and reference rows."""

    def __init__(
        self,
        seed: int,
        rows: Mapping[str, Sequence[int]],
        reference_rows: Mapping[str, Sequence[int]],
        n_references: int,
        n_targets: int,
        latent_shape: tuple[int, ...],
    ) -> None:
        """Leave out subjects without a reference or with fewer than two views."""
        self._seed = seed
        self._subjects = [s for s in rows if reference_rows.get(s) and len(rows[s]) > 1]
        self._rows = rows
        self._reference_rows = reference_rows
        self._n_references = n_references
        self._n_targets = n_targets
        self._latent_shape = latent_shape
        if not self._subjects:
            raise ConfigError("train.reference_yaw_max_deg", 0, "no identity has a reference view and another view.",
                              "widen train.reference_yaw_max_deg, or synthesize more views.")  # fmt: skip

    @property
    def n_images(self) -> int:
        """Target images in a batch, counted as images seen."""
        return self._n_references * self._n_targets

    def batch(self, n_images_seen: int) -> Batch:
        """Return the batch that follows `n_images_seen` images, on the CPU.

        Every epoch visits all identities in its own random order.
        """
        seed = item_seed(self._seed, "batch", n_images_seen)
        rng = np.random.default_rng(seed)
        references, targets = [], []
        first = n_images_seen // self._n_targets
        for i in range(first, first + self._n_references):
            subject = self._subject(i)
            reference = int(rng.choice(self._reference_rows[subject]))
            others = [row for row in self._rows[subject] if row != reference]
            references.append(reference)
            targets.extend(rng.choice(others, self._n_targets, replace=len(others) < self._n_targets).tolist())
        generator = torch.Generator("cpu").manual_seed(seed)
        steps = stratified_steps(self.n_images, generator)
        noise = torch.randn(self.n_images, *self._latent_shape, generator=generator, device="cpu")
        return Batch(torch.tensor(references, device="cpu"), torch.tensor(targets, device="cpu"), steps, noise)

    def _subject(self, position: int) -> str:
        epoch, place = divmod(position, len(self._subjects))
        order = np.random.default_rng(item_seed(self._seed, "epoch", epoch)).permutation(len(self._subjects))
        return self._subjects[int(order[place])]
