"""Large float32 scratch arrays that are kept and used again.

Fresh memory costs a page fault per 4 kB, which is more than the kernels need to fill it.
"""

from __future__ import annotations

import os
import threading

import numpy as np
import torch

MAX_KEPT_FLOATS = 32 * 2**20
"""Floats kept for later in one process (128 MB); more is given back to the system."""

_lock = threading.Lock()
_free: dict[int, list[np.ndarray]] = {}
_n_kept = 0


def borrow(n_floats: int) -> np.ndarray:
    """Return a flat array of at least `n_floats`, aligned to cache lines, contents undefined. Give it back after use."""
    global _n_kept
    size = 1 << max(n_floats - 1, 1).bit_length()
    with _lock:
        kept = _free.get(size)
        if kept:
            _n_kept -= size
            return kept.pop()
    return torch.empty(size, device="cpu").numpy()


def give_back(array: np.ndarray) -> None:
    """Keep `array`, which came from `borrow` and is not used any more, for later."""
    global _n_kept
    with _lock:
        if _n_kept + len(array) <= MAX_KEPT_FLOATS:
            _n_kept += len(array)
            _free.setdefault(len(array), []).append(array)


def _start_over() -> None:
    """A forked child may have inherited the lock held."""
    global _lock
    _lock = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_start_over)
