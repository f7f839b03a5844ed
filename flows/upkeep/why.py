"""`headforge why ITEM`: the parts of an item's key that differ from those of the nearest result in the store."""

from __future__ import annotations

import datetime
import difflib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from flows.project.project import find_root, store_root
from flows.stages import STAGE_NAMES, STAGES
from flows.upkeep.preview import preview
from headforge.errors import DataError, InputError
from headforge.store.objects.manifest import MANIFEST, Manifest, read_manifest
from headforge.store.objects.store import Store
from tasks.environment import made_with
from tasks.items import Item

_PART = re.compile(r"(?:part-)?(\d+)(?:\.parquet)?")
_SUBJECTS = re.compile(r"subjects (\d+)-(\d+)")


@dataclass(frozen=True)
class Difference:
    """A leaf of a recipe whose value has changed."""

    leaf: str
    """Dotted name, such as "params.image_size", "inputs.head", "version" or "runtime.threads"."""
    then: object
    now: object

    def __str__(self) -> str:
        return f"{self.leaf}: {_shown(self.then)} -> {_shown(self.now)}"


@dataclass(frozen=True)
class Explanation:
    """State of one item in the store."""

    item: str
    """Name, such as "synthesize/subjects 0-23"."""
    key: str
    made_on: str
    """Date of the object with this key, or "" if the store has none."""
    is_intact: bool
    nearest: Manifest | None
    """Manifest of the object that differs least, if the store has none with this key."""
    differences: tuple[Difference, ...]
    """Differences between the nearest recipe and the current one; if the object is in the store, between the versions
    that made it and the current ones, which are not part of the key."""


def why(start: Path, wanted: str) -> tuple[list[Explanation], str]:
    """Explain each item that `wanted` names; return also the reason why a stage may have more items, or ""."""
    root = find_root(start)
    stages, label, is_file = _parse(root, wanted)
    manifests = list(_manifests())
    chosen: list[tuple[str, Item]] = []
    known: list[str] = []
    limits: list[str] = []
    for stage in stages:
        items, limit = preview(root, stage)
        known += [f"{stage}/{item.label}" for item in items]
        limits += [f"{stage}: {limit}"] if limit else []
        chosen += [(stage, item) for number, item in enumerate(items) if _is_meant(item, number, stage, label, is_file)]
    if not chosen:
        near = difflib.get_close_matches(wanted, known, n=3, cutoff=0.3) or known[:8]
        help = "; ".join(limits) or f"such as: {', '.join(near) or ', '.join(STAGE_NAMES)}."
        raise InputError(wanted, f"'{wanted}' names no item of {', '.join(stages)}.", help)
    return [_explain(stage, item, manifests) for stage, item in chosen], "; ".join(limits)


def _parse(root: Path, wanted: str) -> tuple[Sequence[str], str, bool]:
    """Return the stages that may have the item, its name among theirs ("" for all), and whether that is a file."""
    stage, _, label = wanted.partition("/")
    if stage in STAGE_NAMES:
        return [stage], label, False
    path = Path(wanted) if Path(wanted).is_absolute() else root / wanted
    for known in STAGES:
        if path.is_relative_to(root / known.output):
            return [known.name], path.relative_to(root / known.output).as_posix().removesuffix("."), True
    if re.fullmatch(r"\d+(/\d+)?", wanted):
        return ["synthesize", "fit"], f"{int(stage):06d}", False
    raise InputError(
        wanted, f"'{wanted}' is not a stage, an item, a subject or a published file.",
        f"write STAGE, STAGE/ITEM, a subject's number or a path under data; stages are {', '.join(STAGE_NAMES)}.",
    )  # fmt: skip


def _is_meant(item: Item, number: int, stage: str, label: str, is_file: bool) -> bool:
    of_method = item.label.rpartition("/")[2]  # without a method's folder, as in coin/000005
    if label in ("", item.label, of_method):
        return True
    if not is_file:
        span = _SUBJECTS.fullmatch(item.label)
        return span is not None and label.isdigit() and int(span[1]) <= int(label) <= int(span[2])
    parts = label.split("/")
    if parts[0] == "shards" and len(parts) > 1:
        found, of_shard = _PART.fullmatch(parts[1]), item.label.removeprefix("shard ")
        return found is not None and int(found[1]) == (int(of_shard) if of_shard.isdigit() else number)
    # The item's own folder, or a file assembled from all items of the stage.
    is_inside = item.label in parts or label.startswith(f"{item.label}/")
    return is_inside or (len(parts) == 1 and stage != "fit") or stage in ("train", "evaluate", "report")


def _manifests() -> Iterator[tuple[Path, Manifest]]:
    for folder in Store(store_root()).object_paths():
        try:
            yield folder, read_manifest(folder)
        except DataError:
            continue


def _explain(stage: str, item: Item, manifests: Sequence[tuple[Path, Manifest]]) -> Explanation:
    key, name = item.recipe.key, f"{stage}/{item.label}"
    store = Store(store_root())
    for folder, manifest in manifests:
        if manifest.key == key:
            return Explanation(name, key, _made_on(folder), store.is_intact(key), None, _other_versions(manifest))
    now = leaves(json.loads(json.dumps(item.recipe.as_json())))
    best: tuple[tuple[bool, int, float], Manifest, tuple[Difference, ...]] | None = None
    for folder, manifest in manifests:
        if manifest.recipe["stage"] == item.recipe.stage:
            differences = compare(leaves(manifest.recipe), now)
            age = -(folder / MANIFEST).stat().st_mtime
            rank = (manifest.note.label != item.label, len(differences), age)
            if best is None or rank < best[0]:
                best = rank, manifest, differences
    return Explanation(name, key, "", False, best[1] if best else None, best[2] if best else ())


def leaves(value: object, name: str = "") -> dict[str, object]:
    """Return the leaves of nested JSON objects by dotted name; a list is a leaf."""
    if not isinstance(value, Mapping):
        return {name: value}
    parts = [leaves(part, f"{name}.{key}" if name else str(key)) for key, part in value.items()]
    return {key: leaf for part in parts for key, leaf in part.items()}


def compare(then: Mapping[str, object], now: Mapping[str, object]) -> tuple[Difference, ...]:
    """Return the leaves whose values differ, by name; a missing leaf counts as None."""
    names = sorted(then.keys() | now.keys())
    return tuple(Difference(n, then.get(n), now.get(n)) for n in names if then.get(n) != now.get(n))


def _other_versions(manifest: Manifest) -> tuple[Difference, ...]:
    then = manifest.note.made_with
    return compare(leaves(then, "made_with"), leaves(made_with(), "made_with")) if then else ()


def _made_on(folder: Path) -> str:
    made = datetime.datetime.fromtimestamp((folder / MANIFEST).stat().st_mtime)
    return made.isoformat(sep=" ", timespec="minutes")


def _shown(value: object) -> str:
    if value is None:
        return "(not there)"
    text = value if isinstance(value, str) else json.dumps(value)
    return f"{text[:12]}…" if re.fullmatch(r"[0-9a-f]{64}", text) else text
