"""Objects and blobs that the projects sharing a store need."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ruamel.yaml.error import YAMLError

from flows.project.project import ProjectError
from flows.project.receipts import read_receipts
from flows.project.sections import code_of
from flows.project.yaml_files import parse_yaml
from headforge.store.files import canonical_json
from headforge.store.objects.manifest import Manifest
from tasks.inputs.named_inputs import content_of

PASSING = ("dataset_page",)
"""Recipes whose results are neither inputs nor outputs of a stage: only those that a project now shows are needed."""

ASSET = "asset"
"""Recipe of converted weights; needed if a project's settings name their source."""


@dataclass(frozen=True)
class State:
    """Settings and code versions with which a project's results may have been made."""

    sections: Mapping[str, Any]
    versions: Mapping[str, int] = field(default_factory=dict)
    """VERSION by file; a file that is missing here matches any version."""

    def agrees(self, recipe: Mapping[str, Any]) -> bool:
        """Return whether the recipe is consistent with this state; an unknown recipe counts as consistent."""
        code = code_of().get(recipe["stage"])
        if code is None:
            return True
        settings: Any = self.sections
        for part in code.section.split("."):
            settings = settings.get(part) if isinstance(settings, Mapping) else None
        if not isinstance(settings, Mapping) or self.versions.get(code.file, recipe["version"]) != recipe["version"]:
            return False
        params = recipe["params"]
        return all(_plain(params[name]) == _plain(settings[name]) for name in params.keys() & settings.keys())


@dataclass
class Needs:
    """Objects and blobs of the store that projects need."""

    keys: set[str] = field(default_factory=set)
    blobs: set[str] = field(default_factory=set)
    assets: set[str] = field(default_factory=set)
    """SHA-256 of their sources."""
    states: dict[str, State] = field(default_factory=dict)
    """States by their JSON text: most branches share one."""

    def add(self, state: State) -> None:
        """Add a state."""
        self.states[canonical_json([_plain(state.sections), dict(state.versions)])] = state
        for section in ("portraits", "videos", "landmarks"):
            self.blobs |= {content_of(str(named)) for named in (state.sections.get(section) or {}).values()}
        self.assets |= {str(source) for source in (state.sections.get("assets") or {}).values()}

    def includes(self, manifest: Manifest) -> bool:
        """Return whether an object is, or may be, needed."""
        if manifest.key in self.keys or manifest.recipe["stage"] in PASSING:
            return manifest.key in self.keys
        if manifest.recipe["stage"] == ASSET:
            return manifest.recipe["inputs"]["source"] in self.assets  # pyright: ignore[reportIndexIssue]
        return any(state.agrees(manifest.recipe) for state in self.states.values())


def needs_of(roots: Iterable[Path]) -> Needs:
    """Return the needs of projects: the objects they published, and those consistent with their settings or locks.

    Settings and locks are read from the folder and from the commits that git's branches, tags and stashes and DVC's
    experiments, finished or queued, point at. Raises ProjectError if a project is missing or can't be read.
    """
    needs = Needs()
    for root in roots:
        try:
            _add_project(needs, root)
        except Exception as error:
            raise ProjectError(
                f"{root} uses this store and can't be read ({_short(error)}), so its needs are unknown.",
                f"fix it, or drop what only it needs: headforge gc --unreferenced --forget {root}",
            ) from error
    return needs


def _add_project(needs: Needs, root: Path) -> None:
    if not (root / "dvc.yaml").is_file():
        raise FileNotFoundError(f"no {root / 'dvc.yaml'}")
    for keys in read_receipts(root).values():
        needs.keys.update(keys)
    for name in ("params.yaml", "dvc.lock"):
        if (root / name).is_file():
            _add_file(needs, name, (root / name).read_text())
    for name, text in _committed_files(root):
        with contextlib.suppress(
            YAMLError, AttributeError, TypeError, ValueError
        ):  # an old commit may have any content
            _add_file(needs, name, text)


def _add_file(needs: Needs, name: str, text: str) -> None:
    content = parse_yaml(text) or {}
    if name == "params.yaml":
        needs.add(State(content))
        return
    for stage in content.get("stages", {}).values():
        params = stage.get("params", {})
        versions = {file: values["VERSION"] for file, values in params.items() if "VERSION" in values}
        needs.add(State(params.get("params.yaml", {}), versions))


def _committed_files(root: Path) -> Iterator[tuple[str, str]]:
    """Yield the name and text of params.yaml and dvc.lock in every referenced commit."""
    prefix = _git(root, "rev-parse", "--show-prefix").strip()
    commits = {*_git(root, "for-each-ref", "--format=%(objectname)").split()}
    if _git(root, "rev-parse", "--verify", "--quiet", "HEAD", check=False):
        commits.add("HEAD")
    for queue in ("refs/exps/celery/stash", "refs/exps/stash"):
        commits.update(_git(root, "rev-list", "--walk-reflogs", queue, "--", check=False).split())
    names = ("params.yaml", "dvc.lock")
    objects = sorted({
        (name, line.split()[2])
        for commit in commits
        for name in names
        if (line := _git(root, "ls-tree", "--full-tree", commit, f"{prefix}{name}", check=False))
    })  # fmt: skip
    for name, blob in objects:
        yield name, _git(root, "cat-file", "blob", blob)


def _git(root: Path, *arguments: str, check: bool = True) -> str:
    command = ["git", "-C", str(root), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=check).stdout


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value


def _short(error: Exception) -> str:
    if isinstance(error, subprocess.CalledProcessError):
        return (error.stderr or "").strip().splitlines()[-1:][0] if error.stderr else "git failed"
    return " ".join(str(error).split())
