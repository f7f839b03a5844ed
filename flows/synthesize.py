"""The flow of the stage `synthesize`: `python -m flows.synthesize`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flows.run.outcome import Rejection
from flows.run.runner import run_stage
from headforge.flame.files import HEAD_FILE
from headforge.store.dataset.identities import MARKS_FILE, read_marks
from headforge.store.dataset.shards import Dataset
from headforge.store.dataset.tables import read_rejects
from headforge.synth.synthesize import assemble_dataset
from tasks.inputs.generators import dataset_licences, generator_asset
from tasks.inputs.head_models import head_asset
from tasks.synthesize import head_item, page_item, shard_items

if TYPE_CHECKING:
    from flows.run.stage_run import StageRun


def synthesize(run: StageRun) -> None:
    """Build the shards and assemble them in data/synthetic."""
    config = run.settings["synthesize"]
    asset = generator_asset(config, run.settings.assets, run.store.root)
    named = head_asset(config.generator_head, run.settings.assets, run.store.root)
    *shards, head = run.build([*shard_items(config, asset), head_item()], "shards and head models")
    with run.published("synthesize") as folder:
        folders = [shard.path for shard in shards]
        head_file = (head.path if named is None else named.folder) / HEAD_FILE
        assemble_dataset(config, folders, folder, head_file, dataset_licences(asset, named))
    (page,) = run.build([page_item(run.data("synthesize"), run.settings["report"].n_contact_subjects)], "pages")
    run.figures.append(page.path / "index.html")
    run.progress.say(f"the page about the dataset is {page.path / 'index.html'}")
    data = Dataset(run.data("synthesize"))
    rejects = read_rejects(run.data("synthesize") / "rejects.parquet")
    run.rejected += [Rejection(reject.item, reject.reason) for reject in rejects]
    marks = read_marks(run.data("synthesize") / MARKS_FILE)
    n_marked = len({mark.subject_id for mark in marks})
    run.metrics |= {"n_subjects": len(data.subject_ids()), "n_rejected": len(rejects), "n_marked": n_marked}


if __name__ == "__main__":
    run_stage("synthesize", synthesize)
