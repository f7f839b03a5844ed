"""Makes DVC notice damaged files in its cache and in the workspace.

DVC 3 trusts every cache object whose mode is read-only and never looks at its bytes again: a shard that is damaged in
place in the cache is checked out as good, and reported as up to date. No setting changes that. Without the shortcut
the class does what its base class does: it compares the file with what it noted when it wrote the object, hashes the
object again if they differ, and removes it if it is bad; the stage then runs and takes its result from the store.

What DVC notes of a file is inode, modification time and size, which a program that writes in place and sets the time
back leaves as they were. The guard adds the time of the last change of the file's status, which no program can set.

DVC has no plug-in point, and has to be guarded in every process. So `install` writes a file
beside the installed packages (`headforge_dvc_guard.pth`) that Python reads when it starts; `make` calls it, and so does
`headforge run` if it finds it missing. All that file does is to import the module beside it, which leaves a finder that
waits for DVC. `flows` itself is not imported before that: in a process that starts in another checkout it must be that
checkout's.
"""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import os
import sys
import sysconfig
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

START_FILE = "headforge_dvc_guard.pth"
START_LINE = "import headforge_dvc_start\n"
"""Python runs lines of such files that begin with import."""
START_MODULE = "headforge_dvc_start.py"
START_CODE = '''"""Written by headforge: guards DVC's modules when they are first imported."""

import importlib
import importlib.util
import sys


class _Start:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] != "dvc_data":
            return None
        sys.meta_path.remove(self)
        if importlib.util.find_spec("flows") is not None:
            importlib.import_module("flows.services.dvc_guard").watch()
        return importlib.util.find_spec(name)


sys.meta_path.insert(0, _Start())
'''
"""Nothing happens once headforge is uninstalled."""


def install() -> None:
    """Make every Python process of this environment call `watch` before it imports DVC's modules.

    Does nothing if it does already.
    """
    folder = Path(sysconfig.get_path("purelib"))
    for name, text in ((START_MODULE, START_CODE), (START_FILE, START_LINE)):
        if not (folder / name).is_file() or (folder / name).read_text() != text:
            partial = folder / f"{name}.{os.getpid()}"
            partial.write_text(text)
            partial.replace(folder / name)


def watch() -> None:
    """Guard DVC's modules when they are imported."""
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder())


def _guard_objects(module: ModuleType) -> None:
    # The stages' command is `python -m flows.<stage>`: it must be this interpreter, activated environment or not.
    folder = str(Path(sys.executable).parent)
    if os.environ.get("PATH", "").split(os.pathsep)[0] != folder:
        os.environ["PATH"] = folder + os.pathsep + os.environ.get("PATH", "")
    database = module.LocalHashFileDB
    if "check" in vars(database):
        del database.check
    protect = database.protect

    def protect_once(self: Any, path: str) -> None:
        # Setting the mode that a file has already would count as a change of its status, and it would be hashed again.
        if not self.is_protected(path):
            protect(self, path)

    database.protect = protect_once


def _guard_notes(module: ModuleType) -> None:
    checksum = module._checksum

    def checksum_with_status(info: Mapping[str, Any]) -> str:
        return checksum({**info, "mtime": f"{info['mtime']} {info['created']}"})

    vars(module)["_checksum"] = checksum_with_status


GUARDS: Mapping[str, Callable[[ModuleType], None]] = {
    "dvc_data.hashfile.db.local": _guard_objects,
    "dvc_data.hashfile.state": _guard_notes,
}
"""What is done to which of DVC's modules once it is loaded."""


class _Finder(importlib.abc.MetaPathFinder):
    """Guards the modules once they are loaded."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        """Return a guarded module's usual spec, with a loader that guards it."""
        if fullname not in GUARDS:
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
        GUARDS[module.__name__](module)


if __name__ == "__main__":
    install()
