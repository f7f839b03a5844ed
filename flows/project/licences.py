"""Licence terms of an output: those of everything it was made with."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from ruamel.yaml.error import YAMLError

from flows.project.assets import stored
from flows.project.params import BUILTIN_PORTRAITS, load_settings
from flows.project.project import ProjectError, find_root, store_root
from flows.project.receipts import read_receipts
from flows.project.yaml_files import parse_yaml
from flows.stages import STAGES, Stage
from headforge.errors import DataError, InputError
from headforge.guarded import read_json_object
from headforge.priors.licences import Carried, Verdict, ledger_entry, verdict
from headforge.store.objects.manifest import read_manifest
from headforge.store.objects.store import Store

DESCRIPTIONS = ("dataset.json", "provenance.json", "avatar.json")
"""Files that describe the origin of a folder outside a project."""
HEAD_MODELS: Mapping[str, str] = {"flame": "flame", "ict": "ict-facekit"}
"""Ledger entry by prefix of a head model's id."""
PHOTO, ASTRONAUT, PHOTO_TRACKER = "photo", "astronaut", "ibug-300w"


def licences_of(output: Path | None, start: Path) -> Verdict:
    """Return the union of the licences of an output; by default those of all outputs and assets of the project.

    The project is that at `start`. An output of a stage inherits the licences of the stages before it. Raises
    InputError for a path of unknown origin.
    """
    if output is None:
        root = find_root(start)
        named = load_settings(root).assets.values()
        assets = [asset for sha256 in named if (asset := stored(Store(store_root()), sha256)) is not None]
        own = [ledger_entry(licence) for asset in assets for licence in asset.licences]
        made = [item for stage in STAGES for item in _of_stage(root, stage)]
        return verdict([*own, *made, *_of_portraits(root)])
    if not output.exists():
        raise InputError(output, f"there is no '{output}'.", "name a file or folder that a stage made.")
    placed = _stage_of(output.resolve())
    if placed is None:
        return verdict(list(_of_folder(output)))
    root, stage = placed
    found = [item for before in [*_upstream(root, stage), stage] for item in _of_stage(root, before)]
    shows_portraits = _shows_portraits(root, stage, output.resolve())
    return verdict([*found, *(_of_portraits(root) if shows_portraits else ())])


def _stage_of(output: Path) -> tuple[Path, Stage] | None:
    try:
        root = find_root(output)
    except ProjectError:
        return None
    inside = output.relative_to(root)
    return next(((root, stage) for stage in STAGES if inside.is_relative_to(stage.output)), None)


def _upstream(root: Path, stage: Stage) -> list[Stage]:
    """Return the stages whose outputs are dependencies of a stage in dvc.yaml."""
    path = root / "dvc.yaml"
    try:
        described = parse_yaml(path.read_text(encoding="utf-8"))["stages"]
        inputs = [Path(path) for path in described.get(stage.name, {}).get("deps", [])]
    except (OSError, ValueError, KeyError, TypeError, AttributeError, YAMLError) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ProjectError(f"{path} lists no stages ({reason}).", "run 'git checkout dvc.yaml'.") from error
    return [other for other in STAGES if other != stage and any(path.is_relative_to(other.output) for path in inputs)]


def _of_stage(root: Path, stage: Stage) -> Iterator[Carried]:
    """Yield the licences that a stage itself adds: those of its dataset and of the assets in its recipes."""
    if stage.name == "synthesize" and (root / stage.output / "dataset.json").is_file():
        yield from _of_folder(root / stage.output)
    yield from _of_recipes(root, stage)


def _shows_portraits(root: Path, stage: Stage, output: Path) -> bool:
    """Return whether an output of a stage, or a portrait's folder in it, contains something made from a photo."""
    inside = output.relative_to(root / stage.output).parts
    if stage.name in ("synthesize", "train"):
        return False
    if stage.name == "track":
        return not inside or inside[0] == "portraits"
    return stage.name != "fit" or not inside or any(part in load_settings(root).portraits for part in inside)


def _of_portraits(root: Path) -> Iterator[Carried]:
    portraits = load_settings(root).portraits
    if portraits:
        yield ledger_entry(PHOTO_TRACKER)
    for picture in portraits.values():
        yield ledger_entry(ASTRONAUT if picture in BUILTIN_PORTRAITS else PHOTO)


def _of_recipes(root: Path, stage: Stage) -> Iterator[Carried]:
    store = Store(store_root())
    sources: set[str] = set()
    for key in read_receipts(root).get(stage.name, []):
        try:
            inputs = read_manifest(store.object_path(key)).recipe["inputs"]
        except DataError:  # the object is no longer in the store; its result is still published
            continue
        sources |= set(inputs.values()) if isinstance(inputs, Mapping) else set()
    for source in sorted(sources):
        asset = stored(store, source)
        for licence in asset.licences if asset is not None else ():
            yield ledger_entry(licence)


def _of_folder(path: Path) -> Iterator[Carried]:
    folder = path if path.is_dir() else path.parent
    described = next((folder / name for name in DESCRIPTIONS if (folder / name).is_file()), None)
    if described is None:
        names = ", ".join(DESCRIPTIONS)
        message = f"the origin of '{path}' is unknown: it has none of {names}."
        raise InputError(path, message, "name an output of a stage, inside its project, or an exported folder.")
    content = read_json_object(described)
    licences = content.get("licences")
    if isinstance(licences, Mapping):
        for source, text in licences.items():
            yield ledger_entry(str(source), str(text))
    elif "licence" in content:
        yield ledger_entry(folder.name, str(content["licence"]))
    models = content.get("head_models", [])
    for model_id in models if isinstance(models, list) else ():
        for start, licence in HEAD_MODELS.items():
            if str(model_id).startswith(start):
                yield ledger_entry(licence)
