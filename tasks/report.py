"""Item of the stage `report`: the page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from headforge.progress import Progress
from headforge.report.config import ReportConfig
from headforge.report.report import VERSION, build_report
from headforge.settings import params_of
from headforge.store.objects.store import Recipe
from headforge.types import MethodOutput
from tasks.digests import folder_digest
from tasks.items import CPU_RUNTIME, Item


def report_item(
    config: ReportConfig,
    inputs: Mapping[str, Path],
    lineage: Mapping[str, object],
    *,
    trained: Sequence[MethodOutput],
    fitted: Sequence[MethodOutput],
) -> Item:
    """Return the item of the report page; `inputs` are the folders dataset, tracked, models, avatars, metrics.

    The recipe has no method names: the lineage contains them.
    """
    digests = {name: folder_digest(folder) for name, folder in inputs.items()}
    recipe = Recipe("report", VERSION, params_of(config) | {"lineage": dict(lineage)}, digests, CPU_RUNTIME)
    return Item("page", recipe, make_report, (config, dict(inputs), dict(lineage), tuple(trained), tuple(fitted)))


def make_report(
    config: ReportConfig,
    inputs: Mapping[str, Path],
    lineage: Mapping[str, object],
    trained: Sequence[MethodOutput],
    fitted: Sequence[MethodOutput],
    folder: Path,
    progress: Progress,
) -> None:
    """Write the report page; runs in a worker."""
    build_report(config, *(inputs[name] for name in ("dataset", "tracked", "models", "avatars", "metrics")),
                 output=folder, lineage=lineage, trained=trained, fitted=fitted)  # fmt: skip
