"""A thread pool per process, created on first use, for kernels that run without the GIL.

One thread by default: other code parallelizes over processes, and two layers of threads slow each other down.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

from headforge.errors import ConfigError

_lock = threading.Lock()
_n_threads = 1
_pool: ThreadPoolExecutor | None = None


def set_kernel_threads(n_threads: int) -> None:
    """Set the number of threads of this process's kernels. Results are bitwise independent of it."""
    global _n_threads, _pool
    if n_threads < 1:
        raise ConfigError("render.threads", n_threads, f"{n_threads} threads can't render.", "give at least 1.")
    with _lock:
        if n_threads != _n_threads and _pool is not None:
            _pool.shutdown(wait=False)
            _pool = None
        _n_threads = n_threads


def kernel_threads() -> int:
    """Return the number of threads of this process's kernels."""
    return _n_threads


def run_ranges(run: Callable[[int, int], object], n: int, *, ranges_per_thread: int = 4) -> None:
    """Call run(first, last) on ranges that cover 0..n, on the pool if there is more than one thread."""
    global _pool
    n_threads = min(_n_threads, n)
    if n_threads <= 1:
        run(0, n)
        return
    with _lock:
        if _pool is None:
            _pool = ThreadPoolExecutor(_n_threads, thread_name_prefix="headforge-kernel")
        pool = _pool
        n_ranges = min(n, n_threads * ranges_per_thread)
        edges = [n * k // n_ranges for k in range(n_ranges + 1)]
        futures = [pool.submit(run, first, last) for first, last in pairwise(edges)]
    for future in futures:
        future.result()


def _forget_pool() -> None:
    """Reset the pool in a forked child, which has no threads of its parent and may inherit a held lock."""
    global _pool, _lock
    _pool, _lock = None, threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_pool)
