"""The contact sheet of a trained model: reference, control, output and ground truth, one column per picture."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from headforge.diffusion.bank import ViewBank
from headforge.diffusion.generate import sample_images, to_uint8
from headforge.diffusion.model_files import TrainedModel
from headforge.diffusion.targets import heldout_targets
from headforge.store.files import write_bytes
from headforge.store.images import encode_png

ENLARGE = 2
"""Integer upscaling factor of the sheet, for legibility."""


def control_preview(control: Tensor) -> Tensor:
    """Return control maps [B, C + 1, S, S] as pictures [B, 3, S, S]: the first three features, grey off the head."""
    return (control[:, :3] * 0.5 + 0.5).clamp(0, 1)


def write_samples(
    path: Path, trained: TrainedModel, bank: ViewBank, seed: int, n_reference_views: int = 4, n_ddim_steps: int = 20
) -> None:
    """Write the sheet of the first target of each subject in `bank`; write nothing if there is none."""
    targets = heldout_targets(bank, n_reference_views, 1)
    if not targets:
        return
    rows = bank.rows
    references = torch.tensor([rows[t.subject_id, t.reference_view] for t in targets], device="cpu")
    places = torch.tensor([rows[t.subject_id, t.view] for t in targets], device="cpu")
    images, control = sample_images(
        trained, bank.pictures(references), bank.params[references], bank.camera[references], bank.params[places],
        bank.camera[places], bank.domains[references], [(t.subject_id, t.view) for t in targets], seed, n_ddim_steps,
    )  # fmt: skip
    bands = [bank.pictures(references), control_preview(control), images, bank.pictures(places)]
    sheet = np.concatenate([np.concatenate(list(to_uint8(band)), axis=1) for band in bands], axis=0)
    write_bytes(path, encode_png(sheet.repeat(ENLARGE, 0).repeat(ENLARGE, 1)))
