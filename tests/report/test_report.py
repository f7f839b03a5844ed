"""The whole page from a fabricated run."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path

import pytest

from headforge.errors import ConfigError
from headforge.report.config import ReportConfig
from headforge.report.report import build_report
from tests.methods import METHODS, MODELS
from tests.report.fabricated import PORTRAIT, fabricate_run
from tests.report.test_page import assert_self_contained

LINEAGE = {
    "params": {"train": {"learning_rate": 0.0015}, "portraits": {"someone": "/home/me/photos/me.jpg"}},
    "stages": {"train": {"key": "abc123", "version": 1, "started": "2026-01-02T03:04:05"}},
    "seed": 0,
    "packages": {"torch": "2.13.0"},
}
CONFIG = ReportConfig(n_contact_subjects=3, n_control_rows=2, n_tracking_overlays=1, n_tracking_compared=4)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Path]:
    return fabricate_run(tmp_path_factory.mktemp("run"))


def build(run: Mapping[str, Path | None], output: Path, lineage: Mapping[str, object] = LINEAGE) -> str:
    page = build_report(
        CONFIG,
        run["dataset"],
        run["tracked"],
        run["models"],
        run["avatars"],
        run["metrics"],
        output,
        lineage,
        trained=MODELS,
        fitted=METHODS,
    )
    assert page == output / "index.html"
    return page.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def html(run: Mapping[str, Path], tmp_path_factory: pytest.TempPathFactory) -> str:
    return build(run, tmp_path_factory.mktemp("report"))


def test_it_is_self_contained(html: str) -> None:
    assert_self_contained(html)


def test_every_part_is_there(html: str) -> None:
    for anchor in ("viewer", "portrait", "avatars", "control-model", "tracking", "dataset", "coverage", "numbers",
                   "lineage"):  # fmt: skip
        assert f'<section id="{anchor}">' in html
    assert html.count("<video") == 5
    assert html.count('src="data:video/mp4') == 3
    assert 'class="note missing"' not in html.split('id="numbers"')[0]
    for text in ("control map", "reprojection, tracked", "tracked mesh", "000003 (long hair)",
                 "no face was found", "too few views were tracked",
                 "the head touches the border", "too few landmarks", "not comparable"):  # fmt: skip
        assert text in html, text


def test_same_inputs_same_bytes_wherever_they_are(run: Mapping[str, Path], html: str, tmp_path: Path) -> None:
    copied = {name: tmp_path / "elsewhere" / name for name in run}
    for name, folder in run.items():
        shutil.copytree(folder, copied[name])
    assert build(copied, tmp_path / "out") == html


def test_no_folder_time_or_run_in_the_page(run: Mapping[str, Path], html: str) -> None:
    assert str(run["dataset"].parent) not in html
    assert "/home/me" not in html
    assert "me.jpg" in html
    assert "2026-01-02" not in html
    assert "abc123" in html


@pytest.mark.parametrize("name", ["dataset", "tracked", "models", "avatars", "metrics"])
def test_a_stage_that_has_not_run_leaves_a_note(run: Mapping[str, Path], name: str, tmp_path: Path) -> None:
    found = build({**run, name: None}, tmp_path)
    assert_self_contained(found)
    assert 'class="note missing"' in found


def test_nothing_at_all_is_still_a_page(tmp_path: Path) -> None:
    found = build(dict.fromkeys(("dataset", "tracked", "models", "avatars", "metrics")), tmp_path, {})
    assert_self_contained(found)
    assert found.count('class="note missing"') >= 7


def test_figures_for_trackers_are_beside_the_page(run: Mapping[str, Path], tmp_path: Path) -> None:
    build(run, tmp_path)
    names = {path.stem for path in (tmp_path / "figures").glob("*.png")}
    assert names == {"portrait", "avatars", "control-model", "tracking", "dataset", "coverage"}


def test_a_hostile_portrait_name_is_only_text(tmp_path: Path) -> None:
    name = "<img src=x onerror=alert(1)>"
    found = build(fabricate_run(tmp_path / "run", name), tmp_path / "out")
    assert_self_contained(found)
    assert name not in found
    assert "&lt;img src=x onerror=alert(1)&gt;" in found


def test_without_long_hair_it_says_so(run: Mapping[str, Path], tmp_path: Path) -> None:
    copied = tmp_path / "avatars"
    shutil.copytree(run["avatars"], copied)
    shutil.rmtree(copied / "000003")
    assert "No long-haired subject" in build({**run, "avatars": copied}, tmp_path / "out")


def test_without_the_portraits_avatar_it_says_so(run: Mapping[str, Path], tmp_path: Path) -> None:
    copied = tmp_path / "avatars"
    shutil.copytree(run["avatars"], copied)
    shutil.rmtree(copied / PORTRAIT)
    found = build({**run, "avatars": copied}, tmp_path / "out")
    assert f"There is no avatar of {PORTRAIT}" in found
    assert "data-payload" in found


def test_counts_below_one_are_refused() -> None:
    with pytest.raises(ConfigError) as caught:
        ReportConfig(n_avatars=0)
    assert caught.value.key == "report.n_avatars"
