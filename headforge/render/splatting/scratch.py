"""Pool of large float32 scratch arrays for reuse.

Fresh memory costs a page fault per 4 kB, more time than the kernels take to fill it.
"""

from __future__ import annotations

import os
import threading

import numpy as np
import torch

MAX_KEPT_FLOATS = 32 * 2**20
"""Most floats kept in one process (128 MB); further memory is released to the system."""

_lock = threading.Lock()
_free: dict[int, list[np.ndarray]] = {}
_n_kept = 0


def borrow(n_floats: int) -> np.ndarray:
    """Return an uninitialized flat array of at least `n_floats`, aligned to cache lines. `give_back` it after use."""
    global _n_kept
    size = 1 << max(n_floats - 1, 1).bit_length()
    with _lock:
        kept = _free.get(size)
        if kept:
            _n_kept -= size
            return kept.pop()
    return torch.empty(size, device="cpu").numpy()


def give_back(array: np.ndarray) -> None:
    """Return an unused `array` from `borrow` to the pool."""
    global _n_kept
    with _lock:
        if _n_kept + len(array) <= MAX_KEPT_FLOATS:
            _n_kept += len(array)
            _free.setdefault(len(array), []).append(array)


def _start_over() -> None:
    """Reset the lock in a forked child, which may inherit it held."""
    global _lock
    _lock = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_start_over)
