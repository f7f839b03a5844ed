"""The scheduled flow of prefect.yaml: a dataset that grows every night. A worker of `headforge up` runs it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from prefect import flow, get_run_logger
from prefect.client.schemas.objects import State
from prefect.runtime import flow_run
from prefect.states import Completed

from flows.project.params import preview_params
from flows.project.project import BusyError, find_root, only_run, quiet_environment
from flows.project.provenance import git_state
from flows.services.records import RunRecord
from flows.upkeep.planning.growth import default_checkout, grow, plan_night, prepare_checkout, read_progress

NOTHING_TO_DO, SKIPPED = "Nothing to do", "Skipped"


@flow(name="nightly", persist_result=False)
def nightly(
    subjects_per_night: int = 240,
    target_subjects: int = 10_000,
    settings: Sequence[str] = (),
    checkout: str = "",
    date: str = "",
) -> State[str] | str:
    """Grow the dataset of the project in the current folder by some subjects.

    Args:
        subjects_per_night: How many more subjects to try, rounded up to whole shards.
        target_subjects: The dataset is never larger than this.
        settings: Assignments "section.key=value" on top of the project's params.yaml.
        checkout: Where to work; by default a folder of headforge's home.
        date: YYYY-MM-DD in the experiment's name; by default today's.

    Returns the name of the night's experiment, or a state that says why there is none.
    """
    quiet_environment()
    project = find_root(Path.cwd())
    place = Path(checkout).expanduser() if checkout else default_checkout(project)
    root = prepare_checkout(project, place)
    logger = get_run_logger()
    try:
        with only_run(root):
            config = preview_params(root, assignments=settings)["synthesize"]
            done = read_progress(place, settings).n_subjects
            plan = plan_night(config, done, subjects_per_night, target_subjects)
            if plan.goal == plan.before:
                logger.info("The dataset has %d subjects, which is the target.", plan.before)
                return Completed(name=NOTHING_TO_DO, data="")
            logger.info("From %d to %d subjects, in %s.", plan.before, plan.goal, root)
            night = date or datetime.now().astimezone().date().isoformat()
            params = {"n_subjects_before": plan.before, "n_subjects": plan.goal, "settings": " ".join(settings)}
            with RunRecord(f"nightly-{night}", root, params) as record:
                record.tags({"prefect.flow_run_id": str(flow_run.id), **git_state(root)})
                name = grow(root, place, plan, settings, night, record.run_id)
                record.tag("dvc.experiment", name)
                record.outputs(root, ("synthesize",))
                record.succeed()
            return name
    except BusyError as error:
        logger.warning("%s", error)
        return Completed(name=SKIPPED, data="")
