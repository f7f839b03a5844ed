"""State of a project according to DVC and git."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path

from ruamel.yaml import YAML


def locked_outputs(root: Path, stages: Sequence[str]) -> dict[str, str]:
    """Return the MD5 of each output in dvc.lock, by path."""
    path = root / "dvc.lock"
    if not path.is_file():
        return {}
    locked = YAML(typ="safe").load(path.read_text()).get("stages", {})
    return {out["path"]: out["md5"] for stage in stages if stage in locked for out in locked[stage].get("outs", [])}


def git_state(root: Path) -> dict[str, str]:
    """Return the git revision (empty before the first commit) and whether tracked files differ from it."""
    revision = _git(root, "rev-parse", "HEAD")
    return {"git.rev": revision, "git.dirty": str(bool(_git(root, "status", "--porcelain", "-uno"))).lower()}


def _git(root: Path, *arguments: str) -> str:
    done = subprocess.run(["git", "-C", str(root), *arguments], capture_output=True, text=True, check=False)
    return done.stdout.strip() if done.returncode == 0 else ""
