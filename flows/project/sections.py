"""The sections of params.yaml and the dataclasses they become."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from headforge.avatar.config import FitConfig
from headforge.diffusion.config import GenerateConfig, TrainConfig
from headforge.metrics.config import EvaluateConfig
from headforge.report.config import ReportConfig
from headforge.synth.config import SynthesizeConfig
from headforge.track.config import TrackConfig
from headforge.track.video.config import VideoConfig
from tasks.engines.engine import EngineConfig
from tasks.inputs.subjects import SubjectsConfig

SECTIONS: Mapping[str, type] = {
    "synthesize": SynthesizeConfig,
    "track": TrackConfig,
    "video": VideoConfig,
    "train": TrainConfig,
    "generate": GenerateConfig,
    "subjects": SubjectsConfig,
    "fit": FitConfig,
    "evaluate": EvaluateConfig,
    "report": ReportConfig,
    "engine": EngineConfig,
}
"""In the order of the file."""


def stage_settings(stage: str, sections: Mapping[str, Any]) -> dict[str, object]:
    """The settings in a stage's own section, by "section.key"."""
    return {f"{stage}.{key}": value for key, value in dataclasses.asdict(sections[stage]).items()}
