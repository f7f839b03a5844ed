"""What DVC and git know about the state of a project."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path

from ruamel.yaml import YAML


def locked_outputs(root: Path, stages: Sequence[str]) -> dict[str, str]:
    """Return MD5 of the outputs that dvc.lock holds, by path."""
    path = root / "dvc.lock"
    if not path.is_file():
        return {}
    locked = YAML(typ="safe").load(path.read_text()).get("stages", {})
    return {out["path"]: out["md5"] for stage in stages if stage in locked for out in locked[stage].get("outs", [])}


def git_state(root: Path) -> dict[str, str]:
    """Return revision of the project and whether files differ from it; empty values before the first commit."""
    revision = _git(root, "rev-parse", "HEAD")
    return {"git.rev": revision, "git.dirty": str(bool(_git(root, "status", "--porcelain", "-uno"))).lower()}


def _git(root: Path, *arguments: str) -> str:
    done = subprocess.run(["git", "-C", str(root), *arguments], capture_output=True, text=True, check=False)
    return done.stdout.strip() if done.returncode == 0 else ""
