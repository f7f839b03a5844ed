"""State of a project according to DVC and git."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Sequence
from pathlib import Path

from ruamel.yaml.error import YAMLError

from flows.project.project import ProjectError
from flows.project.yaml_files import parse_yaml
from headforge.store.files import is_relative_name

_MD5 = re.compile(r"[0-9a-f]{32}(\.dir)?")


def locked_outputs(root: Path, stages: Sequence[str]) -> dict[str, str]:
    """Return the MD5 of each output in dvc.lock, by path. Raises ProjectError for a path outside the project."""
    path = root / "dvc.lock"
    if not path.is_file():
        return {}
    try:
        locked = parse_yaml(path.read_text(encoding="utf-8")).get("stages", {})
        outputs = [out for stage in stages if stage in locked for out in locked[stage].get("outs", [])]
        found = {_text(out["path"]): _text(out["md5"]) for out in outputs}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, YAMLError) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ProjectError(f"{path} is not a lock of DVC's ({reason}).", "run 'git checkout dvc.lock'.") from error
    for name, md5 in found.items():
        require_listed(path, name, md5)
    return found


def _text(value: object) -> str:
    if not isinstance(value, str) or "\0" in value:
        raise TypeError(f"{value!r:.60} is no path or MD5")
    return value


def require_listed(listing: Path, name: object, md5: object) -> None:
    """Refuse a file that a listing of DVC names outside the listing's folder, or by something that is no MD5."""
    if not is_relative_name(name) or not isinstance(md5, str) or not _MD5.fullmatch(md5):
        raise ProjectError(
            f"{listing} names an output that is not a file inside the project: {name!r}, {md5!r}.",
            "'git checkout dvc.yaml dvc.lock' brings the last known good state back.",
        )


def git_state(root: Path) -> dict[str, str]:
    """Return the git revision (empty before the first commit) and whether tracked files differ from it."""
    revision = _git(root, "rev-parse", "HEAD")
    return {"git.rev": revision, "git.dirty": str(bool(_git(root, "status", "--porcelain", "-uno"))).lower()}


def _git(root: Path, *arguments: str) -> str:
    done = subprocess.run(["git", "-C", str(root), *arguments], capture_output=True, text=True, check=False)
    return done.stdout.strip() if done.returncode == 0 else ""
