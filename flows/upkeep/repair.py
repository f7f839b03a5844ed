"""`headforge verify --repair`: restore damaged files from intact copies, or rebuild exactly the damaged results."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from pathlib import Path

from flows.project.checkouts import using_store
from flows.project.params import load_settings
from flows.project.project import find_root, home, only_run, quiet_environment, store_root
from flows.project.receipts import read_receipts
from flows.run.driver import rebuild, run_request
from flows.run.summary import Request
from flows.services.dvc_calls import changed_stages
from flows.stages import STAGE_NAMES, STAGES
from flows.upkeep.verify import (
    CACHE,
    STORE,
    WORKSPACE,
    Finding,
    VerifyProgress,
    cached_files,
    damaged_files,
    damaged_store,
    has_md5,
    md5_file,
    published_files,
)
from headforge.errors import HeadforgeError
from headforge.store.files import atomic_path
from headforge.store.objects.manifest import walk_files
from headforge.store.objects.publish import clone_or_copy
from headforge.store.objects.store import Made, Note, Store
from tasks.engines.engine import CrashedError, EngineConfig
from tasks.engines.profiles import make_engine
from tasks.inputs.generators import generator_asset
from tasks.inputs.named_inputs import content_of
from tasks.items import Item, make_files
from tasks.synthesize import item_of, shard_items

CHANGED_OUTS, CHANGED_DEPS, CHANGED_COMMAND = "changed outs", "changed deps", "changed command"
"""States of a stage in `dvc status`."""
NOT_NEEDED = "moved to quarantine; this project does not need it now, and it is rebuilt when needed"
LOST_PHOTO = "moved to quarantine; give the photo again with --portrait"
LOST_VIDEO = "moved to quarantine; give it again with --video, and --landmarks if it had any"


def repair(start: Path) -> list[Finding]:
    """Repair damage where possible; each returned finding has its outcome."""
    root = find_root(start)
    quiet_environment()
    progress = VerifyProgress()
    with using_store(root), only_run(root):
        found = damaged_store(root, progress, repair=True) + damaged_files(root, progress)
        if found:
            progress.say(f"damaged or missing: {len(found)}")
        found = _make_shards_again(root, found, progress)
        found = _bring_files_back(root, found)
    return _run_stages(root, found)


def _make_shards_again(root: Path, found: Sequence[Finding], progress: VerifyProgress) -> list[Finding]:
    """Rebuild damaged shards, each from its own recipe alone, independent of other shards and of params.yaml."""
    settings = load_settings(root)
    asset = generator_asset(settings["synthesize"], settings.assets, store_root())
    current = {item.recipe.key: item for item in shard_items(settings["synthesize"], asset)}
    items: dict[str, Item] = {}
    for finding in found:
        if finding.place == STORE and not finding.good:
            item = current.get(finding.key) or (item_of(finding.manifest) if finding.manifest is not None else None)
            if item is not None:
                items[finding.key] = item
    outcomes = _build(items, settings["engine"], progress) if items else {}
    return [_judged(finding, outcomes.get(finding.key)) for finding in found]


def _judged(finding: Finding, outcome: str | HeadforgeError | CrashedError | None) -> Finding:
    """Return a finding with the outcome of the rebuild: the object's new digest, or the error."""
    if finding.place != STORE or finding.good or outcome is None:
        return finding
    if isinstance(outcome, Exception):
        reason = outcome.message if isinstance(outcome, HeadforgeError) else outcome.reason
        return dataclasses.replace(finding, outcome=f"could not be rebuilt: {reason}")
    if finding.manifest is not None and finding.manifest.digest != outcome:
        said = "rebuilt, but the bytes differ: the old ones were made with other package versions or another processor"
        return dataclasses.replace(finding, outcome=said, good=True)
    return dataclasses.replace(finding, outcome="rebuilt", good=True)


def _build(
    items: Mapping[str, Item], config: EngineConfig, progress: VerifyProgress
) -> dict[str, str | HeadforgeError | CrashedError]:
    """Rebuild items; return the digest of each object, or its error."""
    store = Store(store_root())
    progress.say(f"rebuilding {len(items)} shard{'s' * (len(items) != 1)}")

    def build(item: Item) -> str | HeadforgeError | CrashedError:
        def make(folder: Path) -> Made:
            files, environment = engine.run(make_files, item.function, item.args, (folder,))
            return Made(files, Note(item.label, environment))

        try:
            made = store.build(item.recipe, make, rehash=True)
        except (HeadforgeError, CrashedError) as error:
            return error
        progress.say(f"{item.recipe.stage}/{item.label} rebuilt")
        return store.digest(made)

    with make_engine(config, home() / "cluster", progress.say) as engine, ThreadPoolExecutor(engine.n_slots) as pool:
        return dict(zip(items, pool.map(build, items.values()), strict=True))


def _bring_files_back(root: Path, found: Sequence[Finding]) -> list[Finding]:
    """Replace damaged files of workspace and cache by copies of any intact file with the same content."""
    copies = _Copies(root)
    done = []
    for finding in found:
        if finding.place in (WORKSPACE, CACHE) and finding.key:
            source = copies.find(finding.key)
            _put_aside(root, finding.path)
            if source is not None:
                _copy(source, finding.path, read_only=finding.place == CACHE)
                finding = dataclasses.replace(finding, outcome=f"copied from {source}", good=True)
        done.append(finding)
    return done


class _Copies:
    """Finder of files by MD5, in order of cost: DVC's cache, the workspace, the store."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def find(self, md5: str) -> Path | None:
        """Return a file with this MD5, or None."""
        named = next((path for path in self._named.get(md5, []) if has_md5(path, md5)), None)
        return named or self._in_store.get(md5)

    @cached_property
    def _named(self) -> dict[str, list[Path]]:
        named: dict[str, list[Path]] = {}
        for path, md5 in (cached_files(self._root) | published_files(self._root)).items():
            named.setdefault(md5, []).append(path)
        return named

    @cached_property
    def _in_store(self) -> dict[str, Path]:
        folders = Store(store_root()).object_paths()
        return {md5_file(path): path for folder in folders for _, path in walk_files(folder)}


def _put_aside(root: Path, path: Path) -> None:
    if path.is_file():
        place = home() / "quarantine" / path.relative_to(root)
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.move(path, place)


def _copy(source: Path, target: Path, *, read_only: bool) -> None:
    with atomic_path(target) as temporary:
        clone_or_copy(source, temporary)
    if read_only:
        target.chmod(0o444)


def _run_stages(root: Path, found: Sequence[Finding]) -> list[Finding]:
    """Run the stages of files that are still missing, if their settings and inputs are unchanged."""
    if all(finding.good for finding in found):
        return list(found)
    named = {key: stage for stage, keys in read_receipts(root).items() for key in keys}
    wanted = {named[finding.key] for finding in found if not finding.good and finding.key in named}
    refused: dict[str, str] = {}
    for stage in STAGE_NAMES:
        status = json.dumps(changed_stages(root).get(stage, []))
        has_lost = CHANGED_OUTS in status
        if not has_lost and stage not in wanted:
            continue
        if CHANGED_DEPS in status or CHANGED_COMMAND in status:
            refused[stage] = (
                f"not rebuilt: dependencies of {stage} have changed since; 'headforge run' builds the new result"
            )
        elif has_lost:
            run_request(Request(stages=(stage,)), root)
        else:
            rebuild(root, stage)
    return [_finally(root, finding, named, refused) for finding in found]


def _finally(root: Path, finding: Finding, named: Mapping[str, str], refused: Mapping[str, str]) -> Finding:
    if finding.good:
        return finding
    store, stage = Store(store_root()), named.get(finding.key) or _owner(root, finding.path)
    is_there = store.is_intact(finding.key) if finding.place == STORE else has_md5(finding.path, finding.key)
    if is_there or (not finding.key and finding.path.is_dir()):
        return dataclasses.replace(finding, outcome=f"rebuilt by {stage}" if stage else "rebuilt", good=True)
    if stage:
        return dataclasses.replace(finding, outcome=refused.get(stage, f"could not be rebuilt by {stage}"))
    settings = load_settings(root)
    if finding.place == STORE and finding.key in map(content_of, settings.portraits.values()):
        return dataclasses.replace(finding, outcome=LOST_PHOTO)
    if finding.place == STORE and finding.key in map(
        content_of, [*settings.videos.values(), *settings.landmarks.values()]
    ):
        return dataclasses.replace(finding, outcome=LOST_VIDEO)
    return dataclasses.replace(finding, outcome=finding.outcome if "could not" in finding.outcome else NOT_NEEDED,
                               good="could not" not in finding.outcome)  # fmt: skip


def _owner(root: Path, path: Path) -> str:
    return next((stage.name for stage in STAGES if path.is_relative_to(root / stage.output)), "")
