"""Eyelid offsets that shut the eyes of any head model."""

from __future__ import annotations

import torch
from torch import Tensor

from headforge.errors import DataError, ShapeError
from headforge.flame.model import HeadModel

BLINK_NAMES = (("blink_left", "blink_right"), ("eyeBlink_L", "eyeBlink_R"))
"""Names of the expressions that shut the left and the right eye."""


def eyelid_basis(model: HeadModel) -> Tensor:
    """Return [V, 3, 2] metres that shut the left and right eye: the model's eyelids or its named expressions.

    Raises DataError if it has neither.
    """
    if len(model.eyelids):
        return model.eyelids
    for names in BLINK_NAMES:
        if set(names) <= set(model.expression_names):
            columns = [model.n_shape + model.expression_names.index(name) for name in names]
            return model.shapedirs[..., columns]
    raise DataError(
        model.model_id, f"the head model '{model.model_id}' can't shut its eyes.",
        "convert it again with l_eyelid.npy and r_eyelid.npy beside it.",
    )  # fmt: skip


def eyelid_offsets(model: HeadModel, amounts: Tensor) -> Tensor:
    """Return `offsets` [B, V, 3] for `pose_head` that shut the left and right eye by `amounts` [B, 2], 1 = shut.

    They act before the head is posed, so they turn with it. (SMIRK and metrical-tracker add the same eyelids after
    skinning, which is right for a head that looks straight ahead only.)
    """
    if amounts.ndim != 2 or amounts.shape[1] != 2:
        raise ShapeError("amounts", "[B, 2]", tuple(amounts.shape))
    return torch.einsum("vck,bk->bvc", eyelid_basis(model).to(amounts), amounts)
