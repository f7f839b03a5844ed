"""What the bytes of a result depend on besides its recipe."""

from __future__ import annotations

import functools
import importlib.metadata
import platform
from collections.abc import Mapping

PACKAGES = ("torch", "numpy", "scipy", "numba", "diffusers", "pyarrow", "pillow", "dlib-bin")
"""Those whose version can change a result."""


@functools.cache
def made_with() -> Mapping[str, str]:
    """Return versions of Python and of those packages, and the instruction set that torch's kernels use, here and now.

    Where all of it is equal, and so is the recipe, results are equal bit for bit.
    """
    import torch  # only who makes something needs it

    versions = {name: package_version(name) for name in PACKAGES}
    python = ".".join(platform.python_version_tuple()[:2])
    return {"python": python, "instructions": torch.backends.cpu.get_cpu_capability()} | versions


def package_version(package: str) -> str:
    """Return of an installed package, without what follows a plus sign."""
    try:
        return importlib.metadata.version(package).partition("+")[0]
    except importlib.metadata.PackageNotFoundError:
        return "not installed"
