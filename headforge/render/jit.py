"""Compiling the numba kernels of this package: cached on disk where that is possible, lock-free, GIL-free."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numba
from numba.core.errors import NumbaWarning


def kernel(signature: Any = None, **options: Any) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Decorate a numba kernel: nopython, without the GIL, with the on-disk cache."""

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        args = () if signature is None else (signature,)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", NumbaWarning)
                return numba.njit(*args, cache=True, nogil=True, **options)(function)
        except (RuntimeError, OSError):
            # No writable place for the cache: every process compiles for itself.
            return numba.njit(*args, cache=False, nogil=True, **options)(function)

    return decorate
