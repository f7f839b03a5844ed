"""Which methods a stage uses: what is not listed is not made and changes nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from flows.project.lineage import lineage_of
from flows.project.params import change_params, load_settings
from flows.project.sections import CHOICES, code_of, stage_settings
from flows.run.methods import chosen_outputs, method_items, sources_of
from flows.upkeep.why import _is_meant
from headforge.errors import ConfigError
from headforge.settings import check_settings, params_of, setting
from headforge.store.objects.store import Recipe
from tasks.items import Item
from tasks.methods import Code, Method, Sources
from tests.flows.projects import empty_project


@dataclass(frozen=True)
class EchoConfig:
    """Settings of a method that does nothing."""

    loudness: int = setting(1, at_least=0, at_most=9)
    """How loud it is."""

    def __post_init__(self) -> None:
        check_settings(self, "fit.echo")


def _echo_items(sources: Sources) -> list[Item]:
    return [Item("someone", Recipe("echo", 1, params_of(sources.settings["fit.echo"]), {}, {}), print, ())]


def _silent_items(sources: Sources) -> list[Item]:
    return [Item("someone", Recipe("silence", 1, {}, {}, {}), print, ())]


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HEADFORGE_HOME", str(tmp_path / "home"))
    echo = Method("Echo", EchoConfig, _echo_items, {"echo": Code("fit.echo", "headforge.avatar.fit")})
    rows: dict[str, Method] = dict(CHOICES["fit"].methods)
    rows["rigged"] = Method(**{**vars(rows["rigged"]), "items": _silent_items})
    monkeypatch.setitem(CHOICES, "fit", CHOICES["fit"].__class__(**{**vars(CHOICES["fit"]), "methods": rows}))  # type: ignore[arg-type]
    rows["echo"] = echo
    return empty_project(tmp_path / "project")


def labels(project: Path) -> list[str]:
    settings = load_settings(project)
    sources = sources_of(lambda stage: project / stage, settings, lambda items, unit: [])
    return [item.label for item in method_items(settings, "fit", sources)]


def keys(project: Path) -> list[str]:
    settings = load_settings(project)
    sources = sources_of(lambda stage: project / stage, settings, lambda items, unit: [])
    return [item.recipe.key for item in method_items(settings, "fit", sources)]


def test_what_is_not_listed_is_not_made(project: Path) -> None:
    assert labels(project) == ["someone"]
    change_params(project, None, ["fit.methods=[echo, rigged]"])
    assert labels(project) == ["someone", "echo/someone"], "what clears the whole folder is published first"
    change_params(project, None, ["fit.methods=[echo]", "train.models=[]"])
    assert labels(project) == ["echo/someone"]
    (output,) = chosen_outputs(load_settings(project), "fit")
    assert (output.label, output.folder, output.prefix) == ("echo_avatar", "echo", "echo_")
    (rigged,) = CHOICES["fit"].outputs(["rigged"])
    assert (rigged.label, rigged.folder, rigged.prefix) == ("avatar", "", "")


def test_settings_of_what_is_not_listed_invalidate_nothing(project: Path) -> None:
    before, lineage = keys(project), lineage_of(project, load_settings(project))
    said = stage_settings("fit", load_settings(project).sections, load_settings(project).methods)
    settings, changes = change_params(project, None, ["fit.echo.loudness=5"])
    assert [str(change) for change in changes] == ["fit.echo.loudness: null -> 5"]
    assert settings["fit.echo"].loudness == 5
    assert keys(project) == before
    assert lineage_of(project, settings) == lineage
    assert stage_settings("fit", settings.sections, settings.methods) == said
    change_params(project, None, ["fit.methods=[rigged, echo]"])
    listed = keys(project)
    change_params(project, None, ["fit.echo.loudness=6"])
    assert keys(project)[0] == listed[0] == before[0]
    assert keys(project)[1] != listed[1]


def test_the_lineage_names_methods_that_are_not_the_default_ones(project: Path) -> None:
    assert "methods" not in lineage_of(project, load_settings(project))
    settings, _ = change_params(project, None, ["fit.methods=[rigged, echo]"])
    lineage = lineage_of(project, settings)
    assert lineage["methods"] == {"fit.methods": ["rigged", "echo"]}
    sections = lineage["settings"]
    assert isinstance(sections, dict) and sections["fit.echo"] == {"loudness": 1}


def test_settings_of_a_method_are_checked(project: Path) -> None:
    for bad, said in (("fit.echo.loudness=10", "between 0 and 9"), ("fit.echo.loud=1", "fit.echo.loudness"),
                      ("fit.methods=[ehco]", "did you mean echo?"), ("fit.methods=[echo, echo]", "2 times"),
                      ("fit.methods=echo", "fit.methods")):  # fmt: skip
        with pytest.raises(ConfigError) as refused:
            change_params(project, None, [bad])
        assert said in str(refused.value)


def test_a_method_that_needs_a_model_says_so(project: Path) -> None:
    with pytest.raises(ConfigError, match="needs the model control") as refused:
        change_params(project, None, ["train.models=[]"])
    assert refused.value.key == "train.models"
    assert "take rigged out of fit.methods" in refused.value.help


@pytest.mark.parametrize("wanted", ["echo/000005", "000005", "echo/000005/frontal.png"])
def test_why_finds_items_of_a_method_by_subject_and_by_file(wanted: str) -> None:
    item = Item("echo/000005", Recipe("echo", 1, {}, {}, {}), print, ())
    assert _is_meant(item, 0, "fit", wanted, is_file=wanted.endswith(".png"))
    assert not _is_meant(item, 0, "fit", wanted.replace("5", "6"), is_file=wanted.endswith(".png"))


def test_a_portrait_cannot_have_the_name_of_a_method(project: Path) -> None:
    with pytest.raises(ConfigError, match="has the name of a method"):
        change_params(project, portraits={"echo": "builtin:astronaut"})


def test_recipes_of_listed_methods_are_known(project: Path) -> None:
    assert "echo" in code_of()
    chosen: Mapping[str, tuple[str, ...]] = {"train": (), "fit": ("echo",)}
    assert list(code_of(chosen)) == ["synthesize", "track", "track_photo", "track_video", "echo", "evaluate", "report"]
