"""params.yaml, presets, dvc.yaml and README agree with the code."""

from __future__ import annotations

import dataclasses
import math
import re
import shlex
from pathlib import Path
from typing import get_args, get_type_hints

import pytest
from ruamel.yaml import YAML

from flows.cli import _parser
from flows.project.params import field_help, load_settings, preset_names, render_params, validate
from flows.project.sections import CHOICES, all_sections, code_of
from flows.stages import STAGES
from headforge.errors import ConfigError
from headforge.settings import Allowed

ROOT = Path(__file__).parents[2]
SECTIONS = all_sections()
RELIED_ON = (
    "synthesize.n_subjects", "synthesize.views_per_subject", "synthesize.image_size", "synthesize.subjects_per_shard",
    "synthesize.generator", "train.n_images_seen", "train.image_size", "train.learning_rate", "engine.workers",
)  # fmt: skip
NUMBERS = [
    (section, name)
    for section, section_type in SECTIONS.items()
    for name, kind in get_type_hints(section_type).items()
    if {kind, *get_args(kind)} & {int, float}
]


def test_params_file_is_the_defaults_under_their_docstrings() -> None:
    # `python -m flows.project.params > params.yaml` writes it again.
    assert (ROOT / "params.yaml").read_text() == render_params()


@pytest.mark.parametrize("section", SECTIONS)
def test_every_setting_is_explained(section: str) -> None:
    names = {item.name for item in dataclasses.fields(SECTIONS[section])}
    assert set(field_help(SECTIONS[section])) == names


@pytest.mark.parametrize("key", RELIED_ON)
def test_names_that_programs_rely_on(key: str) -> None:
    section, _, name = key.partition(".")
    assert name in {item.name for item in dataclasses.fields(SECTIONS[section])}


@pytest.mark.parametrize(("section", "name"), NUMBERS)
def test_every_number_has_bounds_on_both_sides(section: str, name: str) -> None:
    item = next(item for item in dataclasses.fields(SECTIONS[section]) if item.name == name)
    allowed = item.metadata["allowed"]
    assert isinstance(allowed, Allowed)
    lower, upper = (allowed.at_least, allowed.above), (allowed.at_most, allowed.below)
    assert any(bound is not None and math.isfinite(bound) for bound in lower)
    assert any(bound is not None and math.isfinite(bound) for bound in upper)
    for value in (math.nan, math.inf, -math.inf, 10**23, -(10**23)):
        found = (value,) if isinstance(item.default, tuple) else value
        with pytest.raises(ConfigError) as error:
            SECTIONS[section](**{name: found})
        assert error.value.key == f"{section}.{name}"


@pytest.mark.parametrize("name", preset_names(ROOT))
def test_preset_is_valid_and_the_demo_undoes_it(name: str) -> None:
    preset = YAML(typ="safe").load((ROOT / "presets" / f"{name}.yaml").read_text())
    demo = YAML(typ="safe").load((ROOT / "presets" / "demo.yaml").read_text())
    validate(preset, name)
    for section, values in preset.items():
        assert set(values) <= set(demo[section]), f"presets/demo.yaml must set what {name} sets in {section}"


def test_presets_of_methods_list_them() -> None:
    demo = YAML(typ="safe").load((ROOT / "presets" / "demo.yaml").read_text())
    for stage, choice in CHOICES.items():
        assert tuple(demo[stage][choice.key]) == choice.default


def test_demo_preset_is_the_default() -> None:
    demo = YAML(typ="safe").load((ROOT / "presets" / "demo.yaml").read_text())
    assert validate(demo, "demo").sections == load_settings(ROOT).sections


def test_dvc_stages_are_the_stages() -> None:
    described = YAML(typ="safe").load((ROOT / "dvc.yaml").read_text())["stages"]
    assert list(described) == [stage.name for stage in STAGES]
    for stage in STAGES:
        entry = described[stage.name]
        outputs = [*entry.get("outs", []), *entry.get("metrics", [])]
        assert entry["cmd"] == f"python -m flows.{stage.name}"
        assert all(Path(output).is_relative_to(stage.output) for output in outputs)
        assert stage.name in entry["params"], "its methods' settings and the choice of them lie in its section"
        assert "engine" not in entry["params"], "no result depends on the engine"


def test_dvc_watches_the_version_of_every_stage_function() -> None:
    text = (ROOT / "dvc.yaml").read_text()
    watched = set(re.findall(r"(headforge/\S+\.py):", text))
    for path in watched:
        assert re.search(r"^VERSION = \d+$", (ROOT / path).read_text(), re.MULTILINE), path
    assert watched == {code.file for code in code_of().values()}


def test_commands_in_the_readme_exist() -> None:
    lines = re.findall(r"^headforge .*$", (ROOT / "README.md").read_text(), re.MULTILINE)
    assert lines
    for line in lines:
        _parser().parse_args(shlex.split(line, comments=True)[1:])
