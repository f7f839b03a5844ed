"""State of a project according to DVC and git."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path

from ruamel.yaml.error import YAMLError

from flows.project.project import ProjectError
from flows.project.yaml_files import parse_yaml


def locked_outputs(root: Path, stages: Sequence[str]) -> dict[str, str]:
    """Return the MD5 of each output in dvc.lock, by path."""
    path = root / "dvc.lock"
    if not path.is_file():
        return {}
    try:
        locked = parse_yaml(path.read_text(encoding="utf-8")).get("stages", {})
        outputs = [out for stage in stages if stage in locked for out in locked[stage].get("outs", [])]
        return {_text(out["path"]): _text(out["md5"]) for out in outputs}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, YAMLError) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ProjectError(f"{path} is not a lock of DVC's ({reason}).", "run 'git checkout dvc.lock'.") from error


def _text(value: object) -> str:
    if not isinstance(value, str) or "\0" in value:
        raise TypeError(f"{value!r:.60} is no path or MD5")
    return value


def git_state(root: Path) -> dict[str, str]:
    """Return the git revision (empty before the first commit) and whether tracked files differ from it."""
    revision = _git(root, "rev-parse", "HEAD")
    return {"git.rev": revision, "git.dirty": str(bool(_git(root, "status", "--porcelain", "-uno"))).lower()}


def _git(root: Path, *arguments: str) -> str:
    done = subprocess.run(["git", "-C", str(root), *arguments], capture_output=True, text=True, check=False)
    return done.stdout.strip() if done.returncode == 0 else ""
