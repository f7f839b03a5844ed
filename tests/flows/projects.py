"""A project with DVC and git in a folder of its own, whose dataset is small enough to be made in a test."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

from flows.project.params import change_params, load_settings
from flows.project.project import store_root
from flows.project.receipts import write_receipt
from flows.upkeep.verify import md5_file
from headforge.flame.files import HEAD_FILE
from headforge.progress import SILENT
from headforge.store.objects.store import Note, Store
from headforge.synth.synthesize import assemble_dataset
from tasks.items import Item
from tasks.synthesize import head_item, shard_items

ROOT = Path(__file__).parents[2]
SMALL = (
    "synthesize.n_subjects=3", "synthesize.subjects_per_shard=1", "synthesize.views_per_subject=2",
    "synthesize.image_size=32", "engine.workers=1",
)  # fmt: skip


def empty_project(root: Path) -> Path:
    """Settings, presets, git and DVC; nothing was made yet."""
    root.mkdir()
    for name in ("params.yaml", "dvc.yaml"):
        shutil.copy(ROOT / name, root)
    shutil.copytree(ROOT / "presets", root / "presets")
    (root / ".dvc").mkdir()
    shutil.copy(ROOT / ".dvc" / "config", root / ".dvc")
    subprocess.run(["git", "init", "-q", "-b", "main", str(root)], check=True)
    change_params(root, None, SMALL)
    return root


def made_project(root: Path) -> Path:
    """The same with its dataset made, published and locked as the stage and DVC leave it, without either."""
    empty_project(root)
    config, store = load_settings(root)["synthesize"], Store(store_root())
    made = [
        store.build(item.recipe, lambda folder, item=item: put(item, folder), note=Note(item.label))
        for item in [*shard_items(config), head_item()]
    ]
    folder = root / "data" / "synthetic"
    assemble_dataset(config, [thing.path for thing in made[:-1]], folder, made[-1].path / HEAD_FILE)
    write_receipt(root, "synthesize", [thing.key for thing in made])
    lock_output(root, "synthesize", folder)
    return root


def put(item: Item, folder: Path) -> None:
    """Make an item's files."""
    item.function(*item.args, folder, SILENT)


def lock_output(root: Path, stage: str, folder: Path) -> None:
    """Bring a folder into DVC's cache and name it in dvc.lock, in DVC's formats."""
    listing = []
    for path in sorted(item for item in folder.rglob("*") if item.is_file()):
        path.chmod(0o644)
        md5 = md5_file(path)
        cached(root, md5).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, cached(root, md5))
        cached(root, md5).chmod(0o444)
        listing.append({"md5": md5, "relpath": path.relative_to(folder).as_posix()})
    text = root / "listing"
    text.write_text(json.dumps(listing))
    md5 = f"{md5_file(text)}.dir"
    cached(root, md5).parent.mkdir(parents=True, exist_ok=True)
    shutil.move(text, cached(root, md5))
    lock = {"schema": "2.0", "stages": {stage: {"outs": [{"path": folder.relative_to(root).as_posix(), "md5": md5}]}}}
    (root / "dvc.lock").write_text(json.dumps(lock))


def cached(root: Path, md5: str) -> Path:
    """Where DVC's cache has these bytes."""
    return root / ".dvc/cache/files/md5" / md5[:2] / md5[2:]


def flip_bit(path: Path) -> None:
    """As a disk does it: neither size nor modification time tell."""
    status = path.stat()
    path.chmod(0o644)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    with path.open("r+b") as file:
        file.write(data)
    path.chmod(status.st_mode)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
