"""Stages that find all their results."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from flows.project.project import store_root
from flows.project.receipts import read_receipts, write_receipt
from flows.run.found import publish_if_found
from flows.synthesize import synthesize
from headforge.flame.files import HEAD_FILE
from headforge.store.objects.store import Store
from tasks.synthesize import head_item, page_item
from tests.flows.projects import made_project, put


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a project whose dataset was made by the stage, and its home."""
    folder = tmp_path_factory.mktemp("found")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HEADFORGE_HOME", str(folder / "home"))
        root, store = made_project(folder / "project"), Store(store_root())
        used = list(read_receipts(root)["synthesize"])
        page = page_item(root / "data" / "synthetic", 48)
        made = store.build(page.recipe, lambda folder: put(page, folder))
        write_receipt(root, "synthesize", [*used, made.key])
    return folder


@pytest.fixture
def finished(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the project."""
    shutil.copytree(made, tmp_path / "copy")
    monkeypatch.setenv("HEADFORGE_HOME", str(tmp_path / "copy" / "home"))
    return tmp_path / "copy" / "project"


def test_a_stage_that_finds_everything_publishes_it_again(finished: Path) -> None:
    before = (finished / "data" / "synthetic" / HEAD_FILE).read_bytes()
    (finished / "data" / "synthetic" / HEAD_FILE).unlink()
    outcome = publish_if_found("synthesize", synthesize, finished)
    assert outcome is not None
    assert outcome.n_hits == outcome.n_items == len(read_receipts(finished)["synthesize"])
    assert (finished / "data" / "synthetic" / HEAD_FILE).read_bytes() == before


def test_neither_prefect_nor_mlflow_is_loaded(finished: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from flows.run.found import publish_if_found;"
        "from flows.synthesize import synthesize;"
        f"print(publish_if_found('synthesize', synthesize, Path({str(finished)!r})) is not None,"
        "sorted({'prefect', 'mlflow', 'matplotlib'} & set(sys.modules)))"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.splitlines()[-1] == "True []"


@pytest.mark.parametrize("what", ["deleted", "damaged", "another receipt", "no receipt"])
def test_anything_else_is_for_the_flow(finished: Path, what: str) -> None:
    keys = read_receipts(finished)["synthesize"]
    target = Store(store_root()).object_path(head_item().recipe.key)
    published = finished / "data" / "synthetic" / HEAD_FILE
    published.unlink()
    if what == "deleted":
        target.rename(target.with_name("gone"))
    elif what == "damaged":
        file = target / HEAD_FILE
        file.chmod(0o644)
        shutil.rmtree(finished / ".dvc" / "cache")
        file.write_bytes(file.read_bytes()[:-1] + b"?")
    elif what == "another receipt":
        write_receipt(finished, "synthesize", keys[1:])
    else:
        write_receipt(finished, "synthesize", [])
    assert publish_if_found("synthesize", synthesize, finished) is None


def test_a_receipt_with_more_than_the_stage_uses_is_not_enough(finished: Path) -> None:
    write_receipt(finished, "synthesize", [*read_receipts(finished)["synthesize"], "0" * 64])
    assert publish_if_found("synthesize", synthesize, finished) is None
