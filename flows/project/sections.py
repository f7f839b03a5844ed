"""The sections of params.yaml and their dataclasses."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from headforge.diffusion.config import GenerateConfig
from headforge.metrics.config import EvaluateConfig
from headforge.report.config import ReportConfig
from headforge.synth.config import SynthesizeConfig
from headforge.track.config import TrackConfig
from headforge.track.video.config import VideoConfig
from headforge.types import MethodOutput
from tasks.engines.engine import EngineConfig
from tasks.fit import METHODS
from tasks.inputs.subjects import SubjectsConfig
from tasks.methods import Code, Method, output_of, section_of
from tasks.train import MODELS


@dataclass(frozen=True)
class Choice:
    """Methods of a stage, and the setting that chooses among them."""

    key: str
    """Name of the setting in the stage's section."""
    methods: Mapping[str, Method]
    default: tuple[str, ...]
    purpose: str
    """Comment in params.yaml."""
    suffix: str = ""
    """Suffix of the label of a method's pictures of held-out views, unless the method sets a label."""

    def outputs(self, chosen: Sequence[str]) -> list[MethodOutput]:
        """Return the outputs of the chosen methods, in their order, as later stages need them."""
        return [output_of(name, self.methods[name], self.suffix) for name in chosen]


CHOICES: Mapping[str, Choice] = {
    "train": Choice("models", MODELS, ("control",), "Models to train; others are not trained."),
    "fit": Choice("methods", METHODS, ("rigged",), "Methods that fit avatars, each to every subject.", "_avatar"),
}
"""By stage."""


def _of_methods(stage: str) -> dict[str, type]:
    return {section_of(stage, name, row): row.settings for name, row in CHOICES[stage].methods.items()}


def all_sections() -> dict[str, type]:
    """Return the settings class of each section, in the order of the file.

    "train.oneshot" is the mapping `oneshot` in the section `train`: the settings of a stage's method.
    """
    return {
        "synthesize": SynthesizeConfig,
        "track": TrackConfig,
        "video": VideoConfig,
        **_of_methods("train"),
        "generate": GenerateConfig,
        "subjects": SubjectsConfig,
        **_of_methods("fit"),
        "evaluate": EvaluateConfig,
        "report": ReportConfig,
        "engine": EngineConfig,
    }


def used_sections(sections: Mapping[str, Any], chosen: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    """Return the sections without those of unchosen methods."""
    unused = {
        section_of(stage, name, row)
        for stage, choice in CHOICES.items()
        for name, row in choice.methods.items()
        if name not in chosen[stage]
    }
    return {name: config for name, config in sections.items() if name not in unused}


def code_of(chosen: Mapping[str, Sequence[str]] | None = None) -> dict[str, Code]:
    """Return the source of settings and VERSION of each recipe, in the order of the stages.

    Only the `chosen` methods are included; by default all.
    """

    def of_methods(stage: str) -> dict[str, Code]:
        rows = CHOICES[stage].methods
        names = list(rows) if chosen is None else chosen[stage]
        return {recipe: code for name in names for recipe, code in rows[name].code.items()}

    return {
        "synthesize": Code("synthesize", "headforge.synth.synthesize"),
        "track": Code("track", "headforge.track.track"),
        "track_photo": Code("track", "headforge.track.track"),
        "track_video": Code("video", "headforge.track.video.video"),
        **of_methods("train"),
        **of_methods("fit"),
        "evaluate": Code("evaluate", "headforge.metrics.evaluate"),
        "report": Code("report", "headforge.report.report"),
    }


def stage_settings(stage: str, sections: Mapping[str, Any], chosen: Mapping[str, Sequence[str]]) -> dict[str, object]:
    """Return the settings in a stage's own section and in those of its chosen methods, by "section.key"."""
    own = {
        name: config
        for name, config in used_sections(sections, chosen).items()
        if name == stage or name.startswith(f"{stage}.")
    }
    values = {
        f"{name}.{key}": value for name, config in own.items() for key, value in dataclasses.asdict(config).items()
    }
    if stage in CHOICES:
        values[f"{stage}.{CHOICES[stage].key}"] = tuple(chosen[stage])
    return values
