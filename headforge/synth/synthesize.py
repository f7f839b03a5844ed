"""The stage `synthesize`: subjects in, shards of pictures with exact ground truth out."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import torch

from headforge.errors import ConfigError
from headforge.flame.builtin.head import builtin_head
from headforge.flame.files import HEAD_FILE, save_head
from headforge.geometry.seeding import item_seed
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
from headforge.synth.appearance import draw, prepare
from headforge.synth.builtin.subject import Subject
from headforge.synth.config import SynthesizeConfig
from headforge.synth.coverage import add_cells, count_views
from headforge.synth.duplicates import find_marks
from headforge.synth.gates import Detector, check_view
from headforge.synth.generated import HeadGenerator, generate_samples, generate_views, latent_identity
from headforge.synth.identities import Embedder, person_identity
from headforge.synth.rich.subject import RichSubject
from headforge.synth.shots.samplers import split_of, subject_name
from headforge.synth.shots.shots import n_fixed_cameras, shot_params, view_shot
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
    generator: HeadGenerator | None = None,
) -> ShardInfo:
    """Make the pictures of `subjects`: writes part, rejects, identities and coverage .parquet in `output`.

    Every row depends on the config, the subject and the view only, not on which others are in the shard. `detector`
    and `embedder` are what `config.gate_detector` and `config.identity` name, `generator` what `config.generator` does
    if it is a trained one.
    """
    rejects: list[Reject] = []
    identities: list[Identity] = []
    coverage: list[Sequence[Cell]] = []
    progress.start(len(subjects), "subject")

    def made() -> Iterator[Sequence[Sample]]:
        for subject in subjects:
            samples, bad, identity = _synthesize(config, subject, detector, embedder, generator)
            rejects.extend(bad)
            for reject in bad:
                progress.item_rejected(reject.item, reject.reason)
            if identity is not None:
                identities.append(identity)
                coverage.append(count_views(builtin_head(), samples, identities[-1].cluster))
                yield samples
            progress.item_done(subject_name(subject))

    output.mkdir(parents=True, exist_ok=True)
    has_moments = config.is_trained or n_fixed_cameras(config) is not None
    info = write_shard(output / "part.parquet", made(), has_moments=has_moments)
    write_rejects(output / "rejects.parquet", rejects)
    write_identities(output / IDENTITIES_FILE, identities)
    write_coverage(output / COVERAGE_FILE, add_cells(coverage))
    return info


def _synthesize(
    config: SynthesizeConfig,
    subject: int,
    detector: Detector | None,
    embedder: Embedder | None,
    generator: HeadGenerator | None,
) -> tuple[list[Sample], list[Reject], Identity | None]:
    """One subject's views, rejected views and, if any view is left, row of identities."""
    if config.is_trained:
        generator = _required(config, generator)
        samples, bad = generate_views(config, subject, generator, detector)
        return samples, bad, latent_identity(config, subject, samples, generator, embedder) if samples else None
    prepared = prepare(config, subject)
    samples, bad = synthesize_views(config, prepared, detector)
    return samples, bad, person_identity(config, prepared.person, samples, embedder) if samples else None


def _required(config: SynthesizeConfig, generator: HeadGenerator | None) -> HeadGenerator:
    if generator is None:
        message = f"the generator {config.generator} needs its weights."
        raise ConfigError("synthesize.generator", config.generator, message, "add them: headforge assets add")
    return generator


def synthesize_subject(
    config: SynthesizeConfig, subject: int, detector: Detector | None = None
) -> tuple[list[Sample], list[Reject]]:
    """All views of one subject that pass the gates, and the ones that don't."""
    return synthesize_views(config, prepare(config, subject), detector)


def synthesize_views(
    config: SynthesizeConfig, prepared: Subject | RichSubject, detector: Detector | None = None
) -> tuple[list[Sample], list[Reject]]:
    """All views of one prepared subject that pass the gates, and the ones that don't."""
    samples: list[Sample] = []
    rejects: list[Reject] = []
    for view in range(config.views_per_subject):
        sample = synthesize_view(config, prepared, view)
        failed, measured = check_view(config, sample, builtin_head(), detector)
        if failed is None:
            samples.append(dataclasses.replace(sample, quality=measured))
        else:
            rejects.append(Reject(f"{sample.subject_id}/{view}", failed.name, failed.reason, failed.value))
    return samples, rejects


def synthesize_one(config: SynthesizeConfig, subject: int, view: int, generator: HeadGenerator | None = None) -> Sample:
    """One view made alone, equal to the one made among others; not gated."""
    if config.is_trained:
        return next(generate_samples(config, subject, [view], _required(config, generator)))
    return synthesize_view(config, prepare(config, subject), view)


def synthesize_view(config: SynthesizeConfig, prepared: Subject | RichSubject, view: int) -> Sample:
    """One picture with its ground truth, not yet gated."""
    person = prepared.person
    shot = view_shot(config, person.subject, view)
    params = shot_params(config, builtin_head(), person.shape, person.subject, view, shot.timestep)
    with torch.no_grad():
        image, mask = draw(prepared, params, shot.camera)
    return Sample(
        subject_id=subject_name(person.subject),
        view=view,
        split=split_of(config.seed, person.subject, config.heldout_every),
        source=prepared.source,
        seed=item_seed(config.seed, "view", person.subject, view),
        image=image,
        mask=mask,
        camera=shot.camera,
        params=params,
        yaw_deg=shot.yaw_deg,
        pitch_deg=shot.pitch_deg,
        attributes=prepared.attributes,
        timestep=shot.timestep,
        camera_id=shot.camera_id,
    )


def shard_subjects(config: SynthesizeConfig) -> list[range]:
    """Which subjects go into which shard."""
    step = config.subjects_per_shard
    return [range(start, min(start + step, config.n_subjects)) for start in range(0, config.n_subjects, step)]


def assemble_dataset(
    config: SynthesizeConfig,
    shards: Sequence[Path],
    output: Path,
    head: Path | None = None,
    licences: Mapping[str, str] = BUILTIN_LICENCES,
) -> None:
    """Put shards (folders of `synthesize_shard`, in order) together as a dataset in the folder `output`.

    `head` is the file of the generator's head model (`save_head`), if there is one already; it takes seconds to make.
    `licences`: of what the pictures were made with, by the name of the source. The pass over all people writes its
    marks beside the shards, whose bytes stay as they are.
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
