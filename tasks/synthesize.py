"""Work of the stage `synthesize`: one item per shard."""

from __future__ import annotations

from pathlib import Path

from headforge.progress import Progress
from headforge.store.objects import Recipe
from headforge.synth.synthesize import VERSION, SynthesizeConfig, shard_subjects, synthesize_shard
from tasks.items import CPU_RUNTIME, Item, params_of

LAYOUT = ("n_subjects", "subjects_per_shard")
"""Settings that say which subjects there are and where, and change none of them: a grown dataset keeps its shards."""


def shard_items(config: SynthesizeConfig) -> list[Item]:
    """One item per shard of the dataset."""
    params = params_of(config, without=LAYOUT)
    return [
        Item(
            label=f"subjects {subjects.start}-{subjects.stop - 1}",
            recipe=Recipe(
                "synthesize", VERSION, params | {"subjects": [subjects.start, subjects.stop]}, {}, CPU_RUNTIME
            ),
            function=make_shard,
            args=(config, subjects),
        )
        for subjects in shard_subjects(config)
    ]


def make_shard(config: SynthesizeConfig, subjects: range, folder: Path, progress: Progress) -> None:
    """Runs in a worker."""
    synthesize_shard(config, subjects, folder, progress)
