"""The stage `synthesize`: subjects in, shards of pictures with exact ground truth out."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch

from headforge.errors import ConfigError
from headforge.flame.builtin import builtin_head
from headforge.flame.files import HEAD_FILE, save_head
from headforge.geometry.seeding import item_seed
from headforge.progress import SILENT, Progress
from headforge.settings import ADDED, params_of
from headforge.store.coverage import COVERAGE_FILE, Cell, read_coverage, write_coverage
from headforge.store.identities import (
    IDENTITIES_FILE,
    MARKS_FILE,
    Identity,
    read_identities,
    write_identities,
    write_marks,
)
from headforge.store.shards import ShardInfo, write_dataset_json, write_shard
from headforge.store.tables import Reject, read_rejects, write_rejects
from headforge.synth.appearance import APPEARANCES, BASIC_BACKGROUNDS, DOMAINS, RICH_BACKGROUNDS, draw, prepare
from headforge.synth.builtin import Subject
from headforge.synth.coverage import add_cells, count_views
from headforge.synth.duplicates import find_marks
from headforge.synth.gates import Detector, check_view
from headforge.synth.generated import BACKGROUNDS as GENERATED_BACKGROUNDS
from headforge.synth.generated import GENERATORS, HeadGenerator, generate_samples, generate_views, latent_identity
from headforge.synth.identities import Embedder, person_identity
from headforge.synth.rich.subject import RichSubject
from headforge.synth.samplers import split_of, subject_name
from headforge.synth.shots import MOTIONS, SAMPLERS, n_fixed_cameras, shot_params, view_shot
from headforge.types import Sample

VERSION = 2
BUILTIN_LICENCES: Mapping[str, str] = {"headforge-builtin-1": "made by headforge's own code, no outside data"}
DETECTORS = ("none", "dlib")
IDENTITIES = ("parameters", "dlib")
RANGES: Mapping[str, tuple[float, float]] = {
    "rig_deviation": (0, 0.1),
    "frame_rate_hz": (1, 240),
    "sequence_cameras": (1, 1000),
    "head_turn_max_deg": (0, 60),
    "gate_min_area": (0, 1),
    "gate_max_area": (0, 1),
    "gate_max_border": (0, 1),
    "gate_min_landmarks": (0, 68),
    "gate_min_sharpness": (0, 255),
    "gate_detector_max_error": (0, 10),
    "gate_detector_max_angle_deg": (0, 90),
    "duplicate_distance": (0, 10),
    "generator_psi": (0, 1),
    "generator_unit_m": (0.01, 10),
}
"""Allowed values of numbers."""
TRAINED_ONLY: Mapping[str, object] = {
    "appearance": "basic", "domain": "synthetic", "glasses": False, "motion": "stills", "gate_min_landmarks": 0,
}  # fmt: skip
"""What settings must be with a trained generator: it knows neither expressions nor landmarks."""


@dataclass(frozen=True)
class SynthesizeConfig:
    """Settings of the stage `synthesize`."""

    seed: int = 0
    """Seed of the dataset; another one gives other people."""
    generator: str = "builtin"
    """What makes the pictures: "builtin", the procedural head; "spherehead" or "panohead", a trained generator whose
    weights are an asset. Nobody knows the head parameters of the latter's pictures."""
    n_subjects: int = 240
    """Number of people."""
    views_per_subject: int = 24
    """Pictures of each person, each with its own camera and expression."""
    image_size: int = 128
    """Width and height of the pictures in pixels."""
    subjects_per_shard: int = 24
    """People per file; doesn't change any picture."""
    heldout_every: int = 6
    """One in so many people, picked by hash, is kept for the test split."""
    yaw_max_deg: float = 60.0
    """Largest azimuth of the camera to either side."""
    pitch_min_deg: float = -30.0
    """Lowest elevation of the camera."""
    pitch_max_deg: float = 45.0
    """Highest elevation of the camera."""
    n_reference_views: int = 4
    """The first so many views of a person are near-frontal."""
    reference_yaw_max_deg: float = 15.0
    """Largest azimuth of those."""
    reference_pitch_max_deg: float = 8.0
    """Largest elevation or depression of those."""
    sampler: str = "ranges"
    """Where the cameras stand: "ranges" (drawn in those above), "orbit" (a full turn in even steps), "frontal_arc"
    (even steps between the largest azimuths), "nersemble_like" (a rig of 16), "mead_like" (a rig of 7)."""
    rig_deviation: float = 0.01
    """Largest share by which focal lengths and principal points of a rig's cameras are off; the same for everyone."""
    motion: str = "stills"
    """What the views of a person show: "stills" (another expression in each, in a rig at each moment) or "sequence" (a
    film, in which face, gaze and head move smoothly)."""
    frame_rate_hz: float = 25.0
    """Moments per second of a sequence."""
    sequence_cameras: int = 1
    """Cameras that look at a sequence at the same time, where the sampler is not a rig."""
    head_turn_max_deg: float = 15.0
    """Largest turn of the head to either side in a sequence; it nods half and tilts a third as far."""
    expression_strength: float = 1.0
    """Factor on expressions, jaw and gaze; 0 keeps every face at rest."""
    long_hair_share: float = 0.18
    """Share of people with hair over the shoulders."""
    background: str = "white"
    """What is behind the head: "white"; with the appearance rich also "studio" or "surroundings", with a trained
    generator "generated"."""
    glasses: bool = False
    """Whether people wear glasses, `glasses_share` of them; needs the appearance rich."""
    fov_deg: float = 22.0
    """Angle of view of the camera."""
    distance_m: float = 0.92
    """Distance of the camera from the head's origin."""
    target_height_m: float = 0.008
    """Height above the head's origin that the camera looks at."""
    gate_min_area: float = 0.12
    """Least share of the picture that the head covers."""
    gate_max_area: float = 0.75
    """Largest share of the picture that the head covers."""
    gate_max_border: float = 0.01
    """Largest share of the top, left and right border pixels that are covered; the neck runs out at the bottom."""
    gate_min_landmarks: int = 0
    """Least number of the 68 landmarks in sight; 0 asks for none. Views from behind have none."""
    gate_min_sharpness: float = 0.0
    """Least standard deviation of the Laplacian inside the head, in gray levels of 255; 0 asks for none."""
    gate_detector: str = "none"
    """What must find the face in near-frontal views: "none" or "dlib" (needs the extra photos)."""
    gate_detector_max_error: float = 0.15
    """Largest mean distance of its landmarks from the exact ones, in outer-eye distances."""
    gate_detector_max_angle_deg: float = 30.0
    """It is asked about views taken at most so far from the front of the face."""
    identity: str = "parameters"
    """What tells people apart: "parameters" (shape, skin, hair and iris colours, age) or "dlib" (an embedding of the
    most frontal picture; needs the extra photos)."""
    duplicate_distance: float = 0.25
    """People nearer to an earlier one than this are marked. With "parameters" in standard deviations: strangers are
    about 1.2 apart; with "dlib" the same person lies within about 0.6."""
    appearance: str = "basic"
    """How people look: "basic" with hair as shells, "rich" with strands, beards, glasses, soft shadows, wider age."""
    domain: str = "synthetic"
    """The rows' source: "synthetic" (rich: with wrong ears, teeth and glasses), "real" (rich: clean) or "both"."""
    real_share: float = 0.5
    """Share of the people whose pictures are real if the domain is both."""
    glasses_share: float = 0.25
    """Share of the people who wear glasses if there are glasses at all."""
    generator_asset: str = field(default="", metadata=ADDED)
    """Name of the asset that holds a trained generator's weights; by default the generator's own name."""
    generator_head: str = field(default="", metadata=ADDED)
    """Head model that a trained generator's heads are to be fitted with: the name of an asset of the kind flame or ict;
    by default the builtin one."""
    generator_psi: float = field(default=0.7, metadata=ADDED)
    """Truncation of a trained generator: 0 is its average person, 1 all of its variety and its failures."""
    generator_unit_m: float = field(default=0.417, metadata=ADDED)
    """Metres in a unit of a trained generator's space: turns its cameras into metres."""
    generator_device: str = field(default="cpu", metadata=ADDED)
    """Where a trained generator runs: "cpu" or "cuda"."""
    generator_batch: int = field(default=1, metadata=ADDED)
    """Views that a trained generator renders at a time on a graphics card."""
    generator_half: bool = field(default=False, metadata=ADDED)
    """Half precision on a graphics card, in the layers that were trained with it."""

    def __post_init__(self) -> None:
        """Refuse values out of range."""
        for name in ("n_subjects", "views_per_subject", "subjects_per_shard", "heldout_every"):
            _require(name, getattr(self, name), getattr(self, name) >= 1, "at least 1")
        _require("generator", self.generator, self.generator in GENERATORS, f"one of {', '.join(GENERATORS)}")
        self._check_generator() if self.is_trained else self._check_appearance()
        fits = self.is_trained or not self.generator_head
        _require("generator_head", self.generator_head, fits, "empty: the builtin generator has its own head model")
        _require("image_size", self.image_size, 16 <= self.image_size <= 2048, "between 16 and 2048")
        _require("yaw_max_deg", self.yaw_max_deg, 0 <= self.yaw_max_deg <= 180, "between 0 and 180")
        is_ordered = -85 <= self.pitch_min_deg <= self.pitch_max_deg <= 85
        _require("pitch_min_deg", self.pitch_min_deg, is_ordered, "between -85 and pitch_max_deg, which is at most 85")
        _require("n_reference_views", self.n_reference_views, self.n_reference_views >= 0, "at least 0")
        for name in ("reference_yaw_max_deg", "reference_pitch_max_deg"):
            _require(name, getattr(self, name), 0 <= getattr(self, name) <= 85, "between 0 and 85")
        _require("long_hair_share", self.long_hair_share, 0 <= self.long_hair_share <= 0.5, "between 0 and 0.5")
        _require(
            "expression_strength", self.expression_strength, 0 <= self.expression_strength <= 1.5, "between 0 and 1.5"
        )
        _require("sampler", self.sampler, self.sampler in SAMPLERS, f"one of {', '.join(SAMPLERS)}")
        _require("motion", self.motion, self.motion in MOTIONS, f"one of {', '.join(MOTIONS)}")
        _require("gate_detector", self.gate_detector, self.gate_detector in DETECTORS, f"one of {', '.join(DETECTORS)}")
        _require("identity", self.identity, self.identity in IDENTITIES, f"one of {', '.join(IDENTITIES)}")
        for name, (low, high) in RANGES.items():
            _require(name, getattr(self, name), low <= getattr(self, name) <= high, f"between {low} and {high}")
        _require("fov_deg", self.fov_deg, 5 <= self.fov_deg <= 90, "between 5 and 90")
        _require("distance_m", self.distance_m, 0.4 <= self.distance_m <= 10, "between 0.4 and 10")

    @property
    def is_trained(self) -> bool:
        """Whether a trained generator makes the pictures."""
        return self.generator != "builtin"

    def _check_generator(self) -> None:
        asked = f"with the generator {self.generator}"
        allowed = f"one of {', '.join(GENERATED_BACKGROUNDS)} {asked}"
        _require("background", self.background, self.background in GENERATED_BACKGROUNDS, allowed)
        for name, only in TRAINED_ONLY.items():
            _require(name, getattr(self, name), getattr(self, name) == only, f"{only} {asked}")
        devices = ("cpu", "cuda")
        _require("generator_device", self.generator_device, self.generator_device in devices, "cpu or cuda")
        _require("generator_batch", self.generator_batch, 1 <= self.generator_batch <= 64, "between 1 and 64")
        is_on_card = self.generator_device == "cuda"
        _require("generator_batch", self.generator_batch, is_on_card or self.generator_batch == 1, "1 on the CPU")
        _require("generator_half", self.generator_half, is_on_card or not self.generator_half, "false on the CPU")

    def _check_appearance(self) -> None:
        _require("appearance", self.appearance, self.appearance in APPEARANCES, f"one of {', '.join(APPEARANCES)}")
        is_rich = self.appearance == "rich"
        backgrounds = RICH_BACKGROUNDS if is_rich else BASIC_BACKGROUNDS
        allowed = f"one of {', '.join(backgrounds)} with the appearance {self.appearance}"
        _require("background", self.background, self.background in backgrounds, allowed)
        _require("glasses", self.glasses, is_rich or not self.glasses, "false with the appearance basic")
        domains = DOMAINS if is_rich else DOMAINS[:1]
        allowed = f"one of {', '.join(domains)} with the appearance {self.appearance}"
        _require("domain", self.domain, self.domain in domains, allowed)
        for name in ("real_share", "glasses_share"):
            _require(name, getattr(self, name), 0 <= getattr(self, name) <= 1, "between 0 and 1")


def _require(name: str, value: object, is_fine: bool, allowed: str) -> None:
    if not is_fine:
        key = f"synthesize.{name}"
        raise ConfigError(key, value, f"{key} is {value!r}, it must be {allowed}.", f"set {key} to a value {allowed}.")


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
