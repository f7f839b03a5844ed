"""The stage `synthesize`: subjects in, shards of pictures with exact ground truth out."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from headforge.flame.builtin.head import builtin_head
from headforge.flame.files import HEAD_FILE, save_head
from headforge.progress import SILENT, Progress
from headforge.settings import params_of
from headforge.store.dataset.coverage import COVERAGE_FILE, Cell, read_coverage, write_coverage
from headforge.store.dataset.identities import (
    IDENTITIES_FILE,
    MARKS_FILE,
    Identity,
    read_identities,
    write_identities,
    write_marks,
)
from headforge.store.dataset.shards import ShardInfo, write_dataset_json, write_shard
from headforge.store.dataset.tables import Reject, read_rejects, write_rejects
from headforge.synth.config import SynthesizeConfig
from headforge.synth.coverage import add_cells, count_views
from headforge.synth.duplicates import find_marks
from headforge.synth.gates import Detector, check_view
from headforge.synth.generators import Generator, Person, Prepared, make_generator
from headforge.synth.identities import Embedder, person_identity
from headforge.synth.shots.samplers import subject_name
from headforge.synth.shots.shots import view_shot
from headforge.types import Sample

VERSION = 2
BUILTIN_LICENCES: Mapping[str, str] = {"headforge-builtin-1": "made by headforge's own code, no outside data"}


def synthesize_shard(
    config: SynthesizeConfig,
    subjects: Sequence[int],
    output: Path,
    progress: Progress = SILENT,
    detector: Detector | None = None,
    embedder: Embedder | None = None,
    generator: Generator[Any] | None = None,
) -> ShardInfo:
    """Write the pictures of `subjects`: part, rejects, identities and coverage .parquet in `output`.

    Every row depends only on the config, the subject and the view, not on the rest of the shard. `detector` and
    `embedder` are what `config.gate_detector` and `config.identity` name; `generator` is by default the one that
    `config` names, which must then not be a trained one.
    """
    drawing = make_generator(config) if generator is None else generator
    rejects: list[Reject] = []
    identities: list[Identity] = []
    coverage: list[Sequence[Cell]] = []
    progress.start(len(subjects), "subject")

    def made() -> Iterator[Sequence[Sample]]:
        for subject in subjects:
            prepared = drawing.subject(subject)
            samples, bad = synthesize_views(config, drawing, prepared, detector)
            rejects.extend(bad)
            for reject in bad:
                progress.item_rejected(reject.item, reject.reason)
            if samples:
                identities.append(person_identity(drawing.likeness(prepared), samples, embedder))
                coverage.append(count_views(builtin_head(), samples, identities[-1].cluster))
                yield samples
            progress.item_done(subject_name(subject))

    output.mkdir(parents=True, exist_ok=True)
    info = write_shard(output / "part.parquet", made(), has_moments=drawing.has_moments)
    write_rejects(output / "rejects.parquet", rejects)
    write_identities(output / IDENTITIES_FILE, identities)
    write_coverage(output / COVERAGE_FILE, add_cells(coverage))
    return info


def synthesize_subject(
    config: SynthesizeConfig, subject: int, detector: Detector | None = None, generator: Generator[Any] | None = None
) -> tuple[list[Sample], list[Reject]]:
    """Return the views of one subject that pass the gates, and the rejects."""
    drawing = make_generator(config) if generator is None else generator
    return synthesize_views(config, drawing, drawing.subject(subject), detector)


def synthesize_views(
    config: SynthesizeConfig, generator: Generator[Person], prepared: Person, detector: Detector | None = None
) -> tuple[list[Sample], list[Reject]]:
    """Return the views of one prepared subject that pass the gates, and the rejects."""
    samples: list[Sample] = []
    rejects: list[Reject] = []
    shots = [view_shot(config, prepared.number, view) for view in range(config.views_per_subject)]
    for sample in generator.draw(prepared, shots):
        failed, measured = check_view(config, sample, builtin_head(), detector)
        if failed is None:
            samples.append(dataclasses.replace(sample, quality=measured))
        else:
            rejects.append(Reject(f"{sample.subject_id}/{sample.view}", failed.name, failed.reason, failed.value))
    return samples, rejects


def synthesize_view(
    config: SynthesizeConfig, prepared: Prepared, view: int, generator: Generator[Any] | None = None
) -> Sample:
    """Return one view of a prepared subject, identical to the one in its shard; not gated."""
    drawing = make_generator(config) if generator is None else generator
    return next(drawing.draw(prepared, [view_shot(config, prepared.number, view)]))


def synthesize_one(
    config: SynthesizeConfig, subject: int, view: int, generator: Generator[Any] | None = None
) -> Sample:
    """Return one view made alone, identical to the one in its shard; not gated."""
    drawing = make_generator(config) if generator is None else generator
    return synthesize_view(config, drawing.subject(subject), view, drawing)


def shard_subjects(config: SynthesizeConfig) -> list[range]:
    """Return the subjects of each shard."""
    step = config.subjects_per_shard
    return [range(start, min(start + step, config.n_subjects)) for start in range(0, config.n_subjects, step)]


def assemble_dataset(
    config: SynthesizeConfig,
    shards: Sequence[Path],
    output: Path,
    head: Path | None = None,
    licences: Mapping[str, str] = BUILTIN_LICENCES,
) -> None:
    """Assemble shards (folders of `synthesize_shard`, in order) into a dataset in the folder `output`.

    `head` is the file of the generator's head model (`save_head`), if there is one already; it takes seconds to make.
    `licences` are those of the pictures' sources, by source name. Marks of near-duplicates are written beside the
    shards, whose bytes do not change.
    """
    folder = output / "shards"
    folder.mkdir(parents=True, exist_ok=True)
    for number, shard in enumerate(shards):
        shutil.copyfile(shard / "part.parquet", folder / f"part-{number:05d}.parquet")
    rejects = [reject for shard in shards for reject in read_rejects(shard / "rejects.parquet")]
    identities = [one for shard in shards for one in read_identities(shard / IDENTITIES_FILE)]
    write_rejects(output / "rejects.parquet", rejects)
    write_identities(output / IDENTITIES_FILE, identities)
    write_marks(output / MARKS_FILE, find_marks(identities, config.duplicate_distance))
    write_coverage(output / COVERAGE_FILE, add_cells(read_coverage(shard / COVERAGE_FILE) for shard in shards))
    if head is None:
        save_head(builtin_head(), output / HEAD_FILE)
    else:
        shutil.copyfile(head, output / HEAD_FILE)
    params = params_of(config, without=("subjects_per_shard",))
    write_dataset_json(output, generator=config.generator, params=params, licences=licences, n_rejected=len(rejects))
