"""Versions and instruction set, on which the bytes of a result depend besides its recipe."""

from __future__ import annotations

import functools
import importlib.metadata
import platform
from collections.abc import Mapping

PACKAGES = ("torch", "numpy", "scipy", "numba", "diffusers", "pyarrow", "pillow", "dlib-bin")
"""Packages whose version can change a result."""


@functools.cache
def made_with() -> Mapping[str, str]:
    """Return the versions of Python and of `PACKAGES`, and the instruction set of torch's kernels, of this process.

    Results with equal values and equal recipes are equal bit for bit.
    """
    import torch  # only workers need it

    versions = {name: package_version(name) for name in PACKAGES}
    python = ".".join(platform.python_version_tuple()[:2])
    return {"python": python, "instructions": torch.backends.cpu.get_cpu_capability()} | versions


def package_version(package: str) -> str:
    """Return the version of an installed package, without a local suffix ("+cu126")."""
    try:
        return importlib.metadata.version(package).partition("+")[0]
    except importlib.metadata.PackageNotFoundError:
        return "not installed"
