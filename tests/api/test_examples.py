"""The scripts of examples/ run, and docs/python.md shows exactly them."""

from __future__ import annotations

import re
import runpy
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from headforge.avatar.export import read_posed_ply

ROOT = Path(__file__).parents[2]
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))
MAX_STATEMENT_LINES = 12
NEED_DLIB = ("track_photo", "sample_model")
NEED_NO_PROJECT = ("render_head", "track_photo")
PICTURES = {
    "open_dataset": "dataset.png",
    "render_head": "head.png",
    "track_photo": "track.png",
    "sample_model": "samples.png",
    "avatar": "avatar.png",
}


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_example_runs(path: Path, project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if path.stem in NEED_DLIB:
        pytest.importorskip("dlib")
    arguments = [] if path.stem in NEED_NO_PROJECT else [str(project)]
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", [str(path), *arguments])
    runpy.run_path(str(path), run_name="__main__")
    picture = np.asarray(Image.open(tmp_path / PICTURES[path.stem]))
    assert picture.shape[-1] == 3 and picture.shape[1] > 600
    assert picture.std() > 10, "something is shown"
    if path.stem == "avatar":
        assert len(read_posed_ply(tmp_path / "avatar.ply").means) == 3000


def test_examples_look_for_data_in_the_current_folder(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "data").symlink_to(project / "data")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["open_dataset.py"])
    runpy.run_path(str(ROOT / "examples" / "open_dataset.py"), run_name="__main__")
    assert (tmp_path / "dataset.png").is_file()


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_example_is_short(path: Path) -> None:
    lines = path.read_text().split('"""', 2)[2].splitlines()
    written = [line for line in lines if line.strip() and not line.startswith(("import ", "from "))]
    assert len(written) <= MAX_STATEMENT_LINES


def test_the_page_shows_the_examples() -> None:
    blocks = re.findall(
        r"<!-- (examples/\S+) -->\n```python\n(.*?)```", (ROOT / "docs" / "python.md").read_text(), re.S
    )
    assert sorted(name for name, _ in blocks) == [str(path.relative_to(ROOT)) for path in EXAMPLES]
    for name, code in blocks:
        assert code == (ROOT / name).read_text(), name
