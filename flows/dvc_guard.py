"""Makes DVC notice damaged objects in its cache.

DVC 3 trusts every cache object whose mode is read-only and never looks at its bytes again: a shard that is damaged in
place in the cache is checked out as good, and reported as up to date. No setting changes that. Without the shortcut
the class does what its base class does: it compares inode, time and size with what it noted when it wrote the object,
hashes the object again if they differ, and removes it if it is bad; the stage then runs and takes its result from the
store.

DVC has no plug-in point, and it has to be guarded in every process, whoever starts it. So `install` writes a file
beside the installed packages (`headforge_dvc_guard.pth`) that Python reads when it starts; `make` calls it, and so does
`headforge run` if it finds it missing. All that file does is to leave a finder that waits for DVC's module.
"""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import os
import sys
import sysconfig
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

GUARDED_MODULE = "dvc_data.hashfile.db.local"
START_FILE = "headforge_dvc_guard.pth"
START_LINE = (
    'import importlib.util, importlib; importlib.util.find_spec("flows") and '
    'importlib.import_module("flows.dvc_guard").watch()\n'
)
"""Python runs lines of such files that begin with import; nothing happens once headforge is uninstalled."""


def install() -> None:
    """Make every Python process of this environment call `watch` when it starts; does nothing if it does already."""
    path = Path(sysconfig.get_path("purelib")) / START_FILE
    if not path.is_file() or path.read_text() != START_LINE:
        path.write_text(START_LINE)


def watch() -> None:
    """Guard DVC's module when it is imported."""
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder())


def _guard(module: ModuleType) -> None:
    _always_check(module)
    # The stages' command is `python -m flows.<stage>`: it must be this interpreter, activated environment or not.
    folder = str(Path(sys.executable).parent)
    if os.environ.get("PATH", "").split(os.pathsep)[0] != folder:
        os.environ["PATH"] = folder + os.pathsep + os.environ.get("PATH", "")


def _always_check(module: ModuleType) -> None:
    database = module.LocalHashFileDB
    if "check" in vars(database):
        del database.check


class _Finder(importlib.abc.MetaPathFinder):
    """Guards the module once it is loaded."""

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
        _guard(module)


if __name__ == "__main__":
    install()
