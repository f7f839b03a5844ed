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
"""Allowed backgrounds by renderer, see `SynthesizeConfig.drawn_by`."""
ANY_BACKGROUND = tuple(dict.fromkeys(name for names in BACKGROUNDS.values() for name in names))
OF_TRAINED: Mapping[str, object] = {
    "appearance": "basic", "domain": "synthetic", "glasses": False, "motion": "stills", "gate_min_landmarks": 0,
}  # fmt: skip
"""Required values with a trained generator, which has neither expressions nor landmarks."""
FIXED: Mapping[str, Mapping[str, object]] = {
    "basic": {"domain": "synthetic", "glasses": False},
    "rich": {},
    **dict.fromkeys(TRAINED, OF_TRAINED),
}
"""Required values by renderer."""
MAX_SUBJECTS = 10_000_000
MAX_VIEWS = 10_000


@dataclass(frozen=True)
class SynthesizeConfig:
    """Settings of the stage `synthesize`."""

    seed: int = setting(0, at_least=-1e18, at_most=1e18)
    """Seed of the dataset; a different seed gives different subjects."""
    generator: str = setting("builtin", one_of=GENERATORS)
    """Generator of the pictures: "builtin" (the procedural head), or "spherehead" or "panohead" (trained generators,
    whose weights are an asset; the head parameters of their pictures are unknown)."""
    n_subjects: int = setting(240, at_least=1, at_most=MAX_SUBJECTS)
    """Number of subjects."""
    views_per_subject: int = setting(24, at_least=1, at_most=MAX_VIEWS)
    """Pictures per subject, each with its own camera and expression."""
    image_size: int = setting(128, at_least=16, at_most=2048)
    """Width and height of the pictures in pixels."""
    subjects_per_shard: int = setting(24, at_least=1, at_most=MAX_SUBJECTS)
    """Subjects per file; does not affect the pictures."""
    heldout_every: int = setting(6, at_least=1, at_most=MAX_SUBJECTS)
    """One subject in this many, chosen by hash, goes to the test split."""
    yaw_max_deg: float = setting(60.0, at_least=0, at_most=180)
    """Largest azimuth of the camera to either side."""
    pitch_min_deg: float = setting(-30.0, at_least=-85, at_most=85)
    """Lowest elevation of the camera."""
    pitch_max_deg: float = setting(45.0, at_least=-85, at_most=85)
    """Highest elevation of the camera."""
    n_reference_views: int = setting(4, at_least=0, at_most=MAX_VIEWS)
    """Number of near-frontal views per subject, the first ones."""
    reference_yaw_max_deg: float = setting(15.0, at_least=0, at_most=85)
    """Largest azimuth of the near-frontal views."""
    reference_pitch_max_deg: float = setting(8.0, at_least=0, at_most=85)
    """Largest elevation or depression of the near-frontal views."""
    sampler: str = setting("ranges", one_of=SAMPLERS)
    """Placement of the cameras: "ranges" (random in the ranges above), "orbit" (a full turn in even steps),
    "frontal_arc" (even steps between the largest azimuths), "nersemble_like" (a rig of 16 cameras), "mead_like" (a rig
    of 7)."""
    rig_deviation: float = setting(0.01, at_least=0, at_most=0.1)
    """Largest relative error of focal lengths and principal points of a rig's cameras; the same for all subjects."""
    motion: str = setting("stills", one_of=MOTIONS)
    """Content of a subject's views: "stills" (a different expression in each view, with a rig in each moment) or
    "sequence" (a video in which face, gaze and head move smoothly)."""
    frame_rate_hz: float = setting(25.0, at_least=1, at_most=240)
    """Frames per second of a sequence."""
    sequence_cameras: int = setting(1, at_least=1, at_most=1000)
    """Number of simultaneous cameras of a sequence, if the sampler is not a rig."""
    head_turn_max_deg: float = setting(15.0, at_least=0, at_most=60)
    """Largest yaw of the head to either side in a sequence; its pitch reaches half and its roll a third of it."""
    expression_strength: float = setting(1.0, at_least=0, at_most=1.5)
    """Factor on expressions, jaw and gaze; 0 gives neutral faces."""
    long_hair_share: float = setting(0.18, at_least=0, at_most=0.5)
    """Share of subjects with hair over the shoulders."""
    background: str = setting("white", one_of=ANY_BACKGROUND)
    """Background: "white"; with the appearance rich also "studio" or "surroundings", with a trained generator
    "generated"."""
    glasses: bool = False
    """Whether a share `glasses_share` of the subjects wears glasses; needs the appearance rich."""
    fov_deg: float = setting(22.0, at_least=5, at_most=90)
    """Field of view of the camera."""
    distance_m: float = setting(0.92, at_least=0.4, at_most=10)
    """Distance of the camera from the head's origin."""
    target_height_m: float = setting(0.008, at_least=-10, at_most=10)
    """Height above the head's origin of the point that the camera looks at."""
    gate_min_area: float = setting(0.12, at_least=0, at_most=1)
    """Least share of the picture that the head covers."""
    gate_max_area: float = setting(0.75, at_least=0, at_most=1)
    """Largest share of the picture that the head covers."""
    gate_max_border: float = setting(0.01, at_least=0, at_most=1)
    """Largest share of the top, left and right border pixels that are covered; the neck may cross the bottom border."""
    gate_min_landmarks: int = setting(0, at_least=0, at_most=68)
    """Least number of visible landmarks out of 68; 0 disables the gate. Views from behind have none."""
    gate_min_sharpness: float = setting(0.0, at_least=0, at_most=255)
    """Least standard deviation of the Laplacian inside the head, in gray levels of 255; 0 disables the gate."""
    gate_detector: str = setting("none", one_of=DETECTORS)
    """Detector that must find the face in near-frontal views: "none" or "dlib" (needs the extra photos)."""
    gate_detector_max_error: float = setting(0.15, at_least=0, at_most=10)
    """Largest mean distance of the detector's landmarks from the exact ones, in outer-eye distances."""
    gate_detector_max_angle_deg: float = setting(30.0, at_least=0, at_most=90)
    """Largest angle from the front of the face of views that the detector checks."""
    identity: str = setting("parameters", one_of=IDENTITIES)
    """Features for finding near-duplicate identities: "parameters" (shape, skin, hair and iris colours, age) or "dlib"
    (an embedding of the most frontal picture; needs the extra photos)."""
    duplicate_distance: float = setting(0.25, at_least=0, at_most=10)
    """Distance to an earlier subject below which a subject is marked as near-duplicate. With "parameters" in standard
    deviations: unrelated subjects are about 1.2 apart; with "dlib" pictures of one person are within about 0.6."""
    appearance: str = setting("basic", one_of=APPEARANCES)
    """Appearance: "basic" with hair as shells, "rich" with strands, beards, glasses, soft shadows, more ages."""
    domain: str = setting("synthetic", one_of=DOMAINS)
    """Source of the rows: "synthetic" (rich: with wrong ears, teeth and glasses), "real" (rich: clean) or "both"."""
    real_share: float = setting(0.5, at_least=0, at_most=1)
    """Share of the subjects with real pictures if the domain is both."""
    glasses_share: float = setting(0.25, at_least=0, at_most=1)
    """Share of the subjects with glasses if `glasses` is true."""
    generator_asset: str = setting("", added=True)
    """Name of the asset that holds a trained generator's weights; by default the generator's own name."""
    generator_head: str = setting("", added=True)
    """Head model to fit to a trained generator's heads: the name of an asset of the kind flame or ict; by default the
    builtin one."""
    generator_psi: float = setting(0.7, at_least=0, at_most=1, added=True)
    """Truncation of a trained generator: 0 gives its mean person, 1 no truncation (more variety and more failures)."""
    generator_unit_m: float = setting(0.417, at_least=0.01, at_most=10, added=True)
    """Length in metres of a unit of a trained generator's space; converts its cameras to metres."""
    generator_device: str = setting("cpu", one_of=DEVICES, added=True)
    """Device of a trained generator: "cpu" or "cuda"."""
    generator_batch: int = setting(1, at_least=1, at_most=64, added=True)
    """Batch size in views of a trained generator on a GPU."""
    generator_half: bool = setting(False, added=True)
    """Half precision on a GPU, in the layers that were trained with it."""

    def __post_init__(self) -> None:
        """Raise ConfigError for invalid values."""
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
        """Whether the pictures come from a trained generator, whose weights are an asset."""
        return self.generator in TRAINED

    @property
    def drawn_by(self) -> str:
        """Renderer of the pictures: the builtin generator's appearance, or a trained generator's name."""
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
