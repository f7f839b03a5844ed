"""A new method is one file and one row: here one that copies its input, in a checkout of its own."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from headforge.flame.files import HEAD_FILE, save_head
from headforge.store.dataset.shards import write_dataset_json, write_shard
from headforge.store.images import decode_image
from tests.flows.projects import ROOT, empty_project
from tests.heads import tiny_head
from tests.store.rows import sample, subjects

NEW_FILE = '''"""A method that copies a picture of each subject."""

from dataclasses import dataclass
from pathlib import Path

from headforge.progress import Progress
from headforge.settings import params_of, setting
from headforge.store.dataset.shards import Dataset
from headforge.store.images import encode_png
from headforge.store.objects.store import Recipe
from tasks.digests import shard_digests, subject_digests
from tasks.items import CPU_RUNTIME, Item
from tasks.methods import Code, Method, Sources

VERSION = 1


@dataclass(frozen=True)
class CopyConfig:
    """Settings of the copies."""

    view: int = setting(0, at_least=0, at_most=100)
    """Which picture is copied."""


def copy_items(sources: Sources) -> list[Item]:
    config = sources.settings["fit.copying"]
    rows = subject_digests(shard_digests(sources.dataset))
    return [
        Item(subject, Recipe("copying", VERSION, params_of(config), {"subject": rows[subject]}, CPU_RUNTIME),
             make_copy, (config, sources.dataset, subject))
        for subject in Dataset(sources.dataset).subject_ids("test")
    ]


def make_copy(config: CopyConfig, dataset: Path, subject: str, folder: Path, progress: Progress) -> None:
    image = Dataset(dataset).sample(subject, config.view).image
    (folder / "frontal.png").write_bytes(encode_png(image))


COPYING = Method("Copies", CopyConfig, copy_items, {"copying": Code("fit.copying", "tasks.copying")})
'''
NEW_ROW = '    "copying": COPYING,\n'


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HEADFORGE_HOME", str(tmp_path / "home"))
    root = empty_project(tmp_path / "project")
    for name in ("flows", "tasks"):
        shutil.copytree(ROOT / name, root / name, ignore=shutil.ignore_patterns("__pycache__"))
    (root / "tasks" / "copying.py").write_text(NEW_FILE)
    table = root / "tasks" / "fit.py"
    text = table.read_text()
    opening = "METHODS: Mapping[str, Method] = {\n"
    assert opening in text
    imported = text.replace("from tasks.digests", "from tasks.copying import COPYING\nfrom tasks.digests", 1)
    table.write_text(imported.replace(opening, f"{opening}{NEW_ROW}"))
    dataset = root / "data" / "synthetic"
    write_shard(dataset / "shards" / "part-00000.parquet", subjects(range(4)))
    write_dataset_json(dataset, generator="builtin", params={}, licences={})
    save_head(tiny_head(), dataset / HEAD_FILE)
    (root / "data" / "tracked").mkdir()
    return root


SCRIPT = """
from pathlib import Path
from flows.cli import main
from flows.evaluate import evaluate
from flows.fit import fit
from flows.project.params import change_params
from flows.project.project import quiet_environment
from flows.report import report
from flows.services.server import prefect_server
from flows.train import train

if __name__ == "__main__":
    root = Path.cwd()
    quiet_environment()
    change_params(root, None, ["train.models=[]", "fit.methods=[copying]", "fit.copying.view=1"])
    with prefect_server():
        from flows.run.execution import execute
        bodies = {"train": train, "fit": fit, "evaluate": evaluate, "report": report}
        for stage in ("train", "fit", "evaluate", "report", "fit"):
            outcome = execute(stage, bodies[stage], root)
            print(stage, outcome.exit_code, outcome.n_items, outcome.n_hits, flush=True)
    main(["why", "fit/copying/000003"])
"""


def test_a_method_that_copies_its_input_goes_through_the_chain(checkout: Path) -> None:
    (checkout / "chain.py").write_text(SCRIPT)
    environment = os.environ | {"PYTHONPATH": f"{checkout}{os.pathsep}{ROOT}"}
    command = [sys.executable, "chain.py"]
    done = subprocess.run(command, cwd=checkout, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    ended = [line for line in done.stdout.splitlines() if line.split(" ")[0] in ("train", "fit", "evaluate", "report")]
    assert ended == ["train 0 0 0", "fit 0 2 0", "evaluate 0 1 0", "report 0 1 0", "fit 0 2 2"]
    assert "copying/000003" in done.stdout
    made = checkout / "data" / "avatars" / "copying"
    assert sorted(path.name for path in made.iterdir()) == ["000000", "000003"]
    assert (decode_image((made / "000003" / "frontal.png").read_bytes()) == sample(3, 1).image).all()
    metrics = json.loads((checkout / "data" / "metrics" / "metrics.json").read_text())
    assert metrics["copying_avatar"]["n_subjects"] == 0 and "avatar" not in metrics and "heldout" not in metrics
    page = (checkout / "data" / "reports" / "index.html").read_text()
    assert '<section id="copies">' in page and "fit.copying" in page
