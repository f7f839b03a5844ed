"""Compilation of numba kernels with an on-disk cache where possible, without locks and without the GIL."""

from __future__ import annotations

import hashlib
import inspect
import logging
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numba
from numba.core.caching import FunctionCache

_log = logging.getLogger(__name__)


@cache
def _sources_digest(folder: Path) -> str:
    """Return the SHA-256 of the modules below a folder, whose code and constants are compiled into kernels."""
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()


class KernelCache(FunctionCache):
    """numba's on-disk cache, for which a full disk or an unreadable file is no error.

    Unlike numba's own, it detects edits in the other modules of the domain package, such as headforge/render.
    """

    def __init__(self, py_func: Callable[..., Any]) -> None:
        super().__init__(py_func)
        n_below_domain = max(py_func.__module__.count(".") - 2, 0)
        self._folder = Path(inspect.getfile(py_func)).parents[n_below_domain]

    def _index_key(self, sig: Any, codegen: Any) -> tuple[Any, ...]:
        return (*super()._index_key(sig, codegen), _sources_digest(self._folder))

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        """Load the compiled kernel; None if there is no readable one."""
        try:
            return super().load_overload(sig, target_context)
        except OSError as error:
            _log_failure("read", str(error))
            return None

    def save_overload(self, sig: Any, data: Any) -> None:
        """Write the compiled kernel for later processes; a failure is logged."""
        try:
            super().save_overload(sig, data)
        except OSError as error:
            _log_failure("written", str(error))


def kernel(signature: Any = None, **options: Any) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Return a decorator of numba kernels: nopython, without the GIL, with the on-disk cache.

    Compiled when first called; with a `signature`, when decorated. If the cache can't be used, every process
    compiles the kernel.
    """

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        dispatcher: Any = numba.njit(nogil=True, **options)(function)
        try:
            # As `cache=True`, whose class raises disk errors.
            dispatcher._cache = KernelCache(function)
        except (RuntimeError, OSError) as error:
            _log_failure("made", str(error))
        if signature is not None:
            dispatcher.compile(signature)
            dispatcher.disable_compile()
        return dispatcher

    return decorate


@cache
def _log_failure(action: str, reason: str) -> None:
    """Log a cache failure once per process and reason."""
    _log.warning("the cache of compiled kernels can't be %s, so this process compiles its kernels: %s", action, reason)
