"""A project of its own for a benchmark or a test: the working tree's files, a git repository, a home for the store."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).parents[1]
GIT = ("git", "-c", "user.name=headforge", "-c", "user.email=headforge@localhost")
OWN_VARIABLES = ("HEADFORGE_", "PREFECT_", "MLFLOW_", "DVC_")
"""Those of the calling process must not direct the project to another store or server."""


def make_project(folder: Path, settings: Mapping[str, object]) -> Path:
    """Make a project in `folder`/project with `section.key` settings; see `environment` for its home."""
    root = folder / "project"
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=ROOT, check=True, capture_output=True, text=True,
    ).stdout  # fmt: skip
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).is_file():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, root / name)
    (root / "dvc.lock").unlink(missing_ok=True)
    params = (root / "params.yaml").read_text()
    for key, value in settings.items():
        section, _, name = key.partition(".")
        pattern = re.compile(rf"(^{section}:\n(?:.*\n)*?  {name}: ).*$", re.MULTILINE)
        params, n = pattern.subn(rf"\g<1>{value}", params, count=1)
        if n != 1:
            raise KeyError(key)
    (root / "params.yaml").write_text(params)
    (root / ".dvc" / "tmp").mkdir(parents=True, exist_ok=True)
    for command in (("init", "-q"), ("add", "-A"), ("commit", "-q", "-m", "start")):
        subprocess.run([*GIT, *command], cwd=root, check=True, stdout=subprocess.DEVNULL)
    return root


def environment(home: Path) -> dict[str, str]:
    """Return the environment of a project's commands: this interpreter, one thread, `home` for machine state."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(OWN_VARIABLES)}
    own = {"HEADFORGE_HOME": str(home), "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS"), "1")
    return kept | own | threads


def stage_command(stage: str) -> list[str]:
    """Return the command that DVC runs for a stage."""
    return [sys.executable, "-m", f"flows.{stage}"]


def headforge_command(*arguments: str) -> list[str]:
    """Return the console script's command, from the project's own files."""
    return [sys.executable, "-m", "flows.cli", *arguments]
