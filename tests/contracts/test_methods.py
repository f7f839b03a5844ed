"""The tables of methods: what a row must be for the stages to use it without knowing it."""

from __future__ import annotations

import dataclasses

import pytest

from flows.project.sections import CHOICES, all_sections
from flows.stages import STAGE_NAMES
from tasks.methods import Method

ROWS = [(stage, name, row) for stage, choice in CHOICES.items() for name, row in choice.methods.items()]


@pytest.mark.parametrize(("stage", "name", "row"), ROWS, ids=lambda value: value if isinstance(value, str) else "")
def test_a_row_is_whole(stage: str, name: str, row: Method) -> None:
    parameters = getattr(row.settings, "__dataclass_params__", None)
    assert parameters is not None and parameters.frozen
    assert all(code.section in all_sections() for code in row.code.values())
    assert set(row.needs) <= set(CHOICES["train"].methods)


def test_what_the_report_tells_methods_apart_by_is_unique() -> None:
    outputs = {stage: choice.outputs(list(choice.methods)) for stage, choice in CHOICES.items()}
    every = [output for found in outputs.values() for output in found]
    assert len({output.label for output in every}) == len(every)
    assert len({output.title for output in every}) == len(every)
    for found in outputs.values():
        assert len({output.folder for output in found}) == len(found), "two methods at the top of a stage's folder"


def test_defaults_are_methods_and_stages_are_stages() -> None:
    assert set(CHOICES) <= set(STAGE_NAMES)
    for choice in CHOICES.values():
        assert set(choice.default) <= set(choice.methods)


def test_names_of_methods_are_no_settings() -> None:
    for stage, choice in CHOICES.items():
        fields = {item.name for item in dataclasses.fields(all_sections()[stage])}
        assert not fields & {choice.key, *choice.methods}
