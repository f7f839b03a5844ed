"""What results were made from. No time, no run id, no path: the same inputs give the same lineage."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path

from flows.project.params import Settings
from flows.project.provenance import locked_outputs
from headforge.avatar.fit import VERSION as FIT_VERSION
from headforge.diffusion.baselines import VERSION as BASELINES_VERSION
from headforge.diffusion.generate import VERSION as GENERATE_VERSION
from headforge.diffusion.train import VERSION as TRAIN_VERSION
from headforge.metrics.evaluate import VERSION as EVALUATE_VERSION
from headforge.report.report import VERSION as REPORT_VERSION
from headforge.synth.synthesize import VERSION as SYNTHESIZE_VERSION
from headforge.track.track import VERSION as TRACK_VERSION
from headforge.track.video.video import VERSION as VIDEO_VERSION
from tasks.environment import PACKAGES, package_version

CODE_VERSIONS: Mapping[str, int] = {
    "synthesize": SYNTHESIZE_VERSION,
    "track": TRACK_VERSION,
    "track_video": VIDEO_VERSION,
    "train": TRAIN_VERSION,
    "generate": GENERATE_VERSION,
    "baselines": BASELINES_VERSION,
    "fit": FIT_VERSION,
    "evaluate": EVALUATE_VERSION,
    "report": REPORT_VERSION,
}


def lineage_of(root: Path, settings: Settings) -> dict[str, object]:
    """Settings, code versions and package versions."""
    return {
        "settings": {
            name: {key: list(value) if isinstance(value, tuple) else value for key, value in _fields(config)}
            for name, config in settings.sections.items()
            if name != "engine"
        },
        "portraits": dict(settings.portraits),
        **({"videos": dict(settings.videos)} if settings.videos else {}),
        **({"landmarks": dict(settings.landmarks)} if settings.landmarks else {}),
        "code versions": dict(CODE_VERSIONS),
        "packages": {name: package_version(name) for name in PACKAGES},
        "inputs": locked_outputs(root, ("synthesize", "track", "train", "fit", "evaluate")),
    }


def _fields(config: object) -> list[tuple[str, object]]:
    return [(item.name, getattr(config, item.name)) for item in dataclasses.fields(config)]  # type: ignore[arg-type]
