"""Settings of the stage `synthesize`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from headforge.settings import check_settings, require, setting

TRAINED = ("spherehead", "panohead")
GENERATORS = ("builtin", *TRAINED)
APPEARANCES = ("basic", "rich")
DOMAINS = ("synthetic", "real", "both")
SAMPLERS = ("ranges", "orbit", "frontal_arc", "nersemble_like", "mead_like")
MOTIONS = ("stills", "sequence")
DETECTORS = ("none", "dlib")
IDENTITIES = ("parameters", "dlib")
DEVICES = ("cpu", "cuda")
BACKGROUNDS: Mapping[str, tuple[str, ...]] = {
    "basic": ("white",),
    "rich": ("white", "studio", "surroundings"),
    **dict.fromkeys(TRAINED, ("white", "generated")),
}
"""Allowed backgrounds by `SynthesizeConfig.drawn_by`."""
ANY_BACKGROUND = tuple(dict.fromkeys(name for names in BACKGROUNDS.values() for name in names))
OF_TRAINED: Mapping[str, object] = {
    "appearance": "basic", "domain": "synthetic", "glasses": False, "motion": "stills", "gate_min_landmarks": 0,
}  # fmt: skip
"""Settings required with a trained generator, which has neither expressions nor landmarks."""
FIXED: Mapping[str, Mapping[str, object]] = {
    "basic": {"domain": "synthetic", "glasses": False},
    "rich": {},
    **dict.fromkeys(TRAINED, OF_TRAINED),
}
"""Required settings by `SynthesizeConfig.drawn_by`."""
MAX_SUBJECTS = 10_000_000
MAX_VIEWS = 10_000


@dataclass(frozen=True)
class SynthesizeConfig:
    """Settings of the stage `synthesize`."""

    seed: int = setting(0, at_least=-1e18, at_most=1e18)
    """Seed of the dataset; another one gives other people."""
    generator: str = setting("builtin", one_of=GENERATORS)
    """What makes the pictures: "builtin", the procedural head; "spherehead" or "panohead", a trained generator whose
    weights are an asset. Nobody knows the head parameters of the latter's pictures."""
    n_subjects: int = setting(240, at_least=1, at_most=MAX_SUBJECTS)
    """Number of people."""
    views_per_subject: int = setting(24, at_least=1, at_most=MAX_VIEWS)
    """Pictures of each person, each with its own camera and expression."""
    image_size: int = setting(128, at_least=16, at_most=2048)
    """Width and height of the pictures in pixels."""
    subjects_per_shard: int = setting(24, at_least=1, at_most=MAX_SUBJECTS)
    """People per file; doesn't change any picture."""
    heldout_every: int = setting(6, at_least=1, at_most=MAX_SUBJECTS)
    """One in so many people, picked by hash, is kept for the test split."""
    yaw_max_deg: float = setting(60.0, at_least=0, at_most=180)
    """Largest azimuth of the camera to either side."""
    pitch_min_deg: float = setting(-30.0, at_least=-85, at_most=85)
    """Lowest elevation of the camera."""
    pitch_max_deg: float = setting(45.0, at_least=-85, at_most=85)
    """Highest elevation of the camera."""
    n_reference_views: int = setting(4, at_least=0, at_most=MAX_VIEWS)
    """The first so many views of a person are near-frontal."""
    reference_yaw_max_deg: float = setting(15.0, at_least=0, at_most=85)
    """Largest azimuth of those."""
    reference_pitch_max_deg: float = setting(8.0, at_least=0, at_most=85)
    """Largest elevation or depression of those."""
    sampler: str = setting("ranges", one_of=SAMPLERS)
    """Where the cameras stand: "ranges" (drawn in those above), "orbit" (a full turn in even steps), "frontal_arc"
    (even steps between the largest azimuths), "nersemble_like" (a rig of 16), "mead_like" (a rig of 7)."""
    rig_deviation: float = setting(0.01, at_least=0, at_most=0.1)
    """Largest share by which focal lengths and principal points of a rig's cameras are off; the same for everyone."""
    motion: str = setting("stills", one_of=MOTIONS)
    """What the views of a person show: "stills" (another expression in each, in a rig at each moment) or "sequence" (a
    film, in which face, gaze and head move smoothly)."""
    frame_rate_hz: float = setting(25.0, at_least=1, at_most=240)
    """Moments per second of a sequence."""
    sequence_cameras: int = setting(1, at_least=1, at_most=1000)
    """Cameras that look at a sequence at the same time, where the sampler is not a rig."""
    head_turn_max_deg: float = setting(15.0, at_least=0, at_most=60)
    """Largest turn of the head to either side in a sequence; it nods half and tilts a third as far."""
    expression_strength: float = setting(1.0, at_least=0, at_most=1.5)
    """Factor on expressions, jaw and gaze; 0 keeps every face at rest."""
    long_hair_share: float = setting(0.18, at_least=0, at_most=0.5)
    """Share of people with hair over the shoulders."""
    background: str = setting("white", one_of=ANY_BACKGROUND)
    """What is behind the head: "white"; with the appearance rich also "studio" or "surroundings", with a trained
    generator "generated"."""
    glasses: bool = False
    """Whether people wear glasses, `glasses_share` of them; needs the appearance rich."""
    fov_deg: float = setting(22.0, at_least=5, at_most=90)
    """Angle of view of the camera."""
    distance_m: float = setting(0.92, at_least=0.4, at_most=10)
    """Distance of the camera from the head's origin."""
    target_height_m: float = setting(0.008, at_least=-10, at_most=10)
    """Height above the head's origin that the camera looks at."""
    gate_min_area: float = setting(0.12, at_least=0, at_most=1)
    """Least share of the picture that the head covers."""
    gate_max_area: float = setting(0.75, at_least=0, at_most=1)
    """Largest share of the picture that the head covers."""
    gate_max_border: float = setting(0.01, at_least=0, at_most=1)
    """Largest share of the top, left and right border pixels that are covered; the neck runs out at the bottom."""
    gate_min_landmarks: int = setting(0, at_least=0, at_most=68)
    """Least number of the 68 landmarks in sight; 0 asks for none. Views from behind have none."""
    gate_min_sharpness: float = setting(0.0, at_least=0, at_most=255)
    """Least standard deviation of the Laplacian inside the head, in gray levels of 255; 0 asks for none."""
    gate_detector: str = setting("none", one_of=DETECTORS)
    """What must find the face in near-frontal views: "none" or "dlib" (needs the extra photos)."""
    gate_detector_max_error: float = setting(0.15, at_least=0, at_most=10)
    """Largest mean distance of its landmarks from the exact ones, in outer-eye distances."""
    gate_detector_max_angle_deg: float = setting(30.0, at_least=0, at_most=90)
    """It is asked about views taken at most so far from the front of the face."""
    identity: str = setting("parameters", one_of=IDENTITIES)
    """What tells people apart: "parameters" (shape, skin, hair and iris colours, age) or "dlib" (an embedding of the
    most frontal picture; needs the extra photos)."""
    duplicate_distance: float = setting(0.25, at_least=0, at_most=10)
    """People nearer to an earlier one than this are marked. With "parameters" in standard deviations: strangers are
    about 1.2 apart; with "dlib" the same person lies within about 0.6."""
    appearance: str = setting("basic", one_of=APPEARANCES)
    """How people look: "basic" with hair as shells, "rich" with strands, beards, glasses, soft shadows, wider age."""
    domain: str = setting("synthetic", one_of=DOMAINS)
    """The rows' source: "synthetic" (rich: with wrong ears, teeth and glasses), "real" (rich: clean) or "both"."""
    real_share: float = setting(0.5, at_least=0, at_most=1)
    """Share of the people whose pictures are real if the domain is both."""
    glasses_share: float = setting(0.25, at_least=0, at_most=1)
    """Share of the people who wear glasses if there are glasses at all."""
    generator_asset: str = setting("", added=True)
    """Name of the asset that holds a trained generator's weights; by default the generator's own name."""
    generator_head: str = setting("", added=True)
    """Head model that a trained generator's heads are to be fitted with: the name of an asset of the kind flame or ict;
    by default the builtin one."""
    generator_psi: float = setting(0.7, at_least=0, at_most=1, added=True)
    """Truncation of a trained generator: 0 is its average person, 1 all of its variety and its failures."""
    generator_unit_m: float = setting(0.417, at_least=0.01, at_most=10, added=True)
    """Metres in a unit of a trained generator's space: turns its cameras into metres."""
    generator_device: str = setting("cpu", one_of=DEVICES, added=True)
    """Where a trained generator runs: "cpu" or "cuda"."""
    generator_batch: int = setting(1, at_least=1, at_most=64, added=True)
    """Views that a trained generator renders at a time on a graphics card."""
    generator_half: bool = setting(False, added=True)
    """Half precision on a graphics card, in the layers that were trained with it."""

    def __post_init__(self) -> None:
        """Refuse values out of range."""
        check_settings(self, "synthesize")
        is_ordered = self.pitch_min_deg <= self.pitch_max_deg
        highest = f"at most pitch_max_deg, which is {self.pitch_max_deg}"
        require(self, "synthesize", "pitch_min_deg", is_ordered, highest)
        self._check_drawing()
        if self.is_trained:
            self._check_weights()
        else:
            head = "empty: the builtin generator has its own head model"
            require(self, "synthesize", "generator_head", not self.generator_head, head)

    @property
    def is_trained(self) -> bool:
        """Whether the generator is a trained one, whose weights are an asset."""
        return self.generator in TRAINED

    @property
    def drawn_by(self) -> str:
        """The appearance of the builtin generator, or the name of the trained generator."""
        return self.appearance if self.generator == "builtin" else self.generator

    def _check_drawing(self) -> None:
        name = "generator" if self.is_trained else "appearance"
        asked = f"with the {name} {self.drawn_by}"
        backgrounds = BACKGROUNDS[self.drawn_by]
        allowed = f"one of {', '.join(backgrounds)} {asked}"
        require(self, "synthesize", "background", self.background in backgrounds, allowed)
        for name, only in FIXED[self.drawn_by].items():
            require(self, "synthesize", name, getattr(self, name) == only, f"{str(only).lower()} {asked}")

    def _check_weights(self) -> None:
        is_on_card = self.generator_device == "cuda"
        require(self, "synthesize", "generator_batch", is_on_card or self.generator_batch == 1, "1 on the CPU")
        require(self, "synthesize", "generator_half", is_on_card or not self.generator_half, "false on the CPU")
