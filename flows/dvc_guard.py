"""Makes DVC notice damaged objects in its cache.

DVC 3 trusts every cache object whose mode is read-only and never looks at its bytes again: a shard that is damaged in
place in the cache is checked out as good, and reported as up to date. No setting changes that. Without the shortcut
the class does what its base class does: it compares inode, time and size with what it noted when it wrote the object,
hashes the object again if they differ, and removes it if it is bad; the stage then runs and takes its result from the
store.

DVC has no plug-in point, but every command that looks at stages imports networkx, which calls the functions that
packages declare under the entry point `networkx.backend_info`. pyproject.toml declares `on_networkx_import` there.
"""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

GUARDED_MODULE = "dvc_data.hashfile.db.local"


def on_networkx_import() -> dict[str, object]:
    """Guard DVC if this process runs it; says nothing about networkx."""
    if "dvc" in sys.modules:
        guard()
    return {}


def guard() -> None:
    """Remove the shortcut, now or when DVC's module is imported, and let stages run in this interpreter."""
    folder = str(Path(sys.executable).parent)
    if os.environ.get("PATH", "").split(os.pathsep)[0] != folder:
        os.environ["PATH"] = folder + os.pathsep + os.environ.get("PATH", "")
    module = sys.modules.get(GUARDED_MODULE)
    if module is not None:
        _always_check(module)
    elif not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder())


def _always_check(module: ModuleType) -> None:
    database = module.LocalHashFileDB
    if "check" in vars(database):
        del database.check


class _Finder(importlib.abc.MetaPathFinder):
    """Calls `_always_check` once the module is loaded."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        """The module's usual spec, with a loader that guards it."""
        if fullname != GUARDED_MODULE:
            return None
        spec = importlib.machinery.PathFinder.find_spec(fullname, path, target)
        if spec is None or not isinstance(spec.loader, importlib.machinery.SourceFileLoader):
            return None
        spec.loader = _Loader(fullname, spec.loader.path)
        return spec


class _Loader(importlib.machinery.SourceFileLoader):
    def exec_module(self, module: ModuleType) -> None:
        """Load the module, then guard it."""
        super().exec_module(module)
        _always_check(module)
