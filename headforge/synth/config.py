"""Settings of the stage `synthesize`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from headforge.errors import ConfigError
from headforge.settings import ADDED

GENERATORS = ("builtin", "spherehead", "panohead")
APPEARANCES = ("basic", "rich")
DOMAINS = ("synthetic", "real", "both")
BASIC_BACKGROUNDS = ("white",)
RICH_BACKGROUNDS = ("white", "studio", "surroundings")
GENERATED_BACKGROUNDS = ("white", "generated")
SAMPLERS = ("ranges", "orbit", "frontal_arc", "nersemble_like", "mead_like")
MOTIONS = ("stills", "sequence")
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
