"""The flow of the stage `report`: `python -m flows.report`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flows.project.lineage import lineage_of
from flows.run.methods import chosen_outputs
from flows.run.runner import run_stage
from tasks.report import report_item

if TYPE_CHECKING:
    from flows.run.stage_run import StageRun

INPUTS = {"dataset": "synthesize", "tracked": "track", "models": "train", "avatars": "fit", "metrics": "evaluate"}


def report(run: StageRun) -> None:
    """Write the report page from the results of the other stages."""
    inputs = {name: run.data(stage) for name, stage in INPUTS.items()}
    trained, fitted = (chosen_outputs(run.settings, stage) for stage in ("train", "fit"))
    lineage = lineage_of(run.root, run.settings)
    item = report_item(run.settings["report"], inputs, lineage, trained=trained, fitted=fitted)
    (page,) = run.build([item], "pages")
    output = run.data("report")
    with run.published("report") as folder:
        run.publish(item, page, folder)
    run.figures += [output / "index.html", *sorted(output.glob("figures/*.png"))]
    run.progress.say(f"the report is {output / 'index.html'}")


if __name__ == "__main__":
    run_stage("report", report)
