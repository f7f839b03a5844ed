"""What DVC and git know about the state of a project."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Sequence
from pathlib import Path

from ruamel.yaml import YAML

from flows.project.project import ProjectError
from headforge.store.files import is_relative_name

_MD5 = re.compile(r"[0-9a-f]{32}(\.dir)?")


def locked_outputs(root: Path, stages: Sequence[str]) -> dict[str, str]:
    """Return MD5 of the outputs that dvc.lock holds, by path. Raises ProjectError for a path outside the project."""
    path = root / "dvc.lock"
    if not path.is_file():
        return {}
    locked = YAML(typ="safe").load(path.read_text()).get("stages", {})
    found = {out["path"]: out["md5"] for stage in stages if stage in locked for out in locked[stage].get("outs", [])}
    for name, md5 in found.items():
        require_listed(path, name, md5)
    return found


def require_listed(listing: Path, name: object, md5: object) -> None:
    """Refuse a file that a listing of DVC names outside the listing's folder, or by something that is no MD5."""
    if not is_relative_name(name) or not isinstance(md5, str) or not _MD5.fullmatch(md5):
        raise ProjectError(
            f"{listing} names an output that is not a file inside the project: {name!r}, {md5!r}.",
            "'git checkout dvc.yaml dvc.lock' brings the last known good state back.",
        )


def git_state(root: Path) -> dict[str, str]:
    """Return revision of the project and whether files differ from it; empty values before the first commit."""
    revision = _git(root, "rev-parse", "HEAD")
    return {"git.rev": revision, "git.dirty": str(bool(_git(root, "status", "--porcelain", "-uno"))).lower()}


def _git(root: Path, *arguments: str) -> str:
    done = subprocess.run(["git", "-C", str(root), *arguments], capture_output=True, text=True, check=False)
    return done.stdout.strip() if done.returncode == 0 else ""
