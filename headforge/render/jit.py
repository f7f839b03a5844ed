"""Compiling numba kernels: cached on disk where that is possible, lock-free, GIL-free."""

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
    """Return SHA-256 of the modules below a folder: kernels have code and constants of other modules compiled in."""
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()


class KernelCache(FunctionCache):
    """numba's cache on disk, for which a full disk or a file that can't be read is no error.

    Unlike numba's own it sees edits in the other modules of the domain package, such as headforge/render.
    """

    def __init__(self, py_func: Callable[..., Any]) -> None:
        super().__init__(py_func)
        n_below_domain = max(py_func.__module__.count(".") - 2, 0)
        self._folder = Path(inspect.getfile(py_func)).parents[n_below_domain]

    def _index_key(self, sig: Any, codegen: Any) -> tuple[Any, ...]:
        return (*super()._index_key(sig, codegen), _sources_digest(self._folder))

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        """Return the compiled kernel, or None if there is none that can be read."""
        try:
            return super().load_overload(sig, target_context)
        except OSError as error:
            _log_failure("read", str(error))
            return None

    def save_overload(self, sig: Any, data: Any) -> None:
        """Keep the compiled kernel for later processes if there is room."""
        try:
            super().save_overload(sig, data)
        except OSError as error:
            _log_failure("written", str(error))


def kernel(signature: Any = None, **options: Any) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Decorate a numba kernel: nopython, without the GIL, with the on-disk cache.

    Compiled when first called; with a `signature`, when decorated. Where the cache can't be used, every process
    compiles for itself.
    """

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        dispatcher: Any = numba.njit(nogil=True, **options)(function)
        try:
            # What `cache=True` would do with numba's own class, which lets errors of the disk through.
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
    """Once per process and reason."""
    _log.warning("the cache of compiled kernels can't be %s, so this process compiles for itself: %s", action, reason)
