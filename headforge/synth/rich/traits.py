"""Identity of a subject of the rich appearance: `Person` with a wider range, and further traits."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch

from headforge.flame.builtin.modes import IDENTITY_NAMES
from headforge.synth.people.subjects import Person, sample_person
from headforge.synth.shots.samplers import item_rng

HAIRCUTS = (
    "bald", "buzz", "crop", "side_part", "slick_back", "fringe", "curly", "afro", "pixie", "bun", "ponytail", "bob",
    "long_straight", "long_wavy", "long_curly",
)  # fmt: skip
BEARDS = ("none", "stubble", "mustache", "goatee", "short", "full")
GLASSES = ("none", "round", "rectangle", "wide", "pilot")
_COARSE_LENGTH: Mapping[str, str] = {
    "bald": "bald", "bun": "medium", "ponytail": "medium", "bob": "medium", "long_straight": "long",
    "long_wavy": "long", "long_curly": "long",
}  # fmt: skip
"""The attribute "hair" by haircut; all others are "short"."""
_HEAVY: Mapping[str, float] = {
    "cheek_fat": 1.0, "neck_width": 0.8, "jaw_width": 0.5, "head_width": 0.35, "chin_width": 0.5, "chin_down": 0.3,
}  # fmt: skip
"""Identity coefficients per standard deviation of weight."""
_AGED: Mapping[str, float] = {
    "ear_size": 1.3, "lip_fullness": -1.4, "nose_tip_up": -1.2, "nose_out": 0.6, "cheek_fat": -0.7, "brow_height": -0.8,
    "eye_size": -0.6,
}  # fmt: skip
"""Identity coefficients from the age 0 to 1."""
_CHILDLIKE: Mapping[str, float] = {
    "head_size": -1.2, "eye_size": 1.5, "jaw_width": -1.0, "chin_down": -1.2, "nose_out": -1.2, "nose_bridge": -1.2,
    "brow_ridge": -1.4, "neck_width": -1.4, "face_length": -1.3, "forehead_slope": 1.0, "cheek_fat": 0.7,
    "nose_tip_up": 0.8, "mouth_width": -0.8, "chin_out": -0.5,
}  # fmt: skip
"""Identity coefficients added for the youngest."""
_MAX_COEFFICIENT = 2.5


@dataclass(frozen=True)
class Traits:
    """A subject before it becomes geometry."""

    person: Person
    """Identity, skin, colours; its `hair_style` is "bald" for a bare scalp and "short" for all else."""
    is_real: bool
    """Whether its pictures belong to the domain "real"; the others carry the defects of generated pictures."""
    is_child: bool
    haircut: str
    """One of `HAIRCUTS`."""
    hairline_mm: float
    """How much farther back than usual the hair starts at the temples."""
    bare_crown: float
    """0 to 1: how thin the hair is on the crown."""
    grey_share: float
    """Share of grey hairs."""
    beard: str
    """One of `BEARDS`."""
    beard_length_mm: float
    brow_thickness: float
    """About 1."""
    glasses: str
    """One of `GLASSES`."""
    frame_srgb: np.ndarray
    """[3]."""
    lens_tint: float
    """0 clear to 0.5 sunglasses."""
    wrinkles: float
    """0 to 1."""

    @property
    def attributes(self) -> dict[str, str]:
        """The subject's attributes in a dataset row."""
        age = self.person.age
        return {
            **self.person.attributes,
            "hair": _COARSE_LENGTH.get(self.haircut, "short"),
            "hair_style": self.haircut,
            "beard": self.beard,
            "glasses": self.glasses,
            "age": "child" if self.is_child else ("young", "middle", "old")[min(int(age * 3), 2)],
        }


def sample_traits(seed: int, subject: int, long_hair_share: float, real_share: float, glasses_share: float) -> Traits:
    """Draw the subject: a function of (seed, subject) and the shares.

    The shares decide the domain and the wearers of glasses and change no other trait.
    """
    person = sample_person(seed, subject, long_hair_share)
    rng = item_rng(seed, "traits", subject)
    is_child = rng.random() < 0.07
    age = 0.0 if is_child else float(np.clip(rng.beta(1.3, 1.5), 0, 1))
    haircut = _haircut(rng, person, age, is_child)
    recedes = person.is_masculine and not is_child and haircut not in ("bald", "afro")
    thinning = max(age - 0.3, 0.0) * float(rng.random()) ** 0.7 if recedes else 0.0
    grey_share = float(np.clip((age - 0.35) * 1.7 + rng.normal(0, 0.2), 0, 1)) * (not is_child)
    beard = _beard(rng, person, is_child)
    person = dataclasses.replace(
        person,
        age=age,
        shape=_shape(rng, person.shape, age, is_child),
        hair_style="bald" if haircut == "bald" else "short",
        beard=0.0,
        makeup=0.0 if is_child else person.makeup,
        hair_srgb=_hair_color(rng, person, grey_share),
        hair_color="grey" if grey_share > 0.6 else person.hair_color,
    )
    own = item_rng(seed, "glasses", subject)
    kind = str(own.choice(GLASSES[1:]))
    is_dark = own.random() < 0.12
    return Traits(
        person=person,
        is_real=evenly_chosen(seed, "domain", subject, real_share),
        is_child=is_child,
        haircut=haircut,
        hairline_mm=26.0 * thinning,
        bare_crown=float(np.clip(thinning * 1.8 - 0.25, 0, 1)),
        grey_share=grey_share,
        beard=beard,
        beard_length_mm=float({"stubble": rng.uniform(1.0, 2.2), "full": rng.uniform(16, 42)}.get(beard, 0.0))
        or float(rng.uniform(5, 10)),
        brow_thickness=float((1.05 if person.is_masculine else 0.8) * rng.uniform(0.75, 1.25)),
        glasses=kind if evenly_chosen(seed, "glasses share", subject, glasses_share) else "none",
        frame_srgb=np.array(_FRAMES_SRGB[own.integers(len(_FRAMES_SRGB))]),
        lens_tint=float(own.uniform(0.3, 0.5)) if is_dark else 0.0,
        wrinkles=float(np.clip((age - 0.25) * 1.35, 0, 1)),
    )


_FRAMES_SRGB = ((0.05, 0.05, 0.055), (0.05, 0.05, 0.055), (0.30, 0.17, 0.09), (0.62, 0.52, 0.33), (0.55, 0.56, 0.58),
                (0.40, 0.08, 0.10), (0.12, 0.16, 0.30), (0.55, 0.36, 0.22))  # fmt: skip


def evenly_chosen(seed: int, name: str, subject: int, share: float) -> bool:
    """Return whether `subject` is among the `share` of all: spread evenly, so that small datasets match it too."""
    start = item_rng(seed, name).random()
    return bool((start + subject * (math.sqrt(2) - 1)) % 1.0 < share)


def _shape(rng: np.random.Generator, shape: torch.Tensor, age: float, is_child: bool) -> torch.Tensor:
    values = shape.double().numpy().copy()
    weight = rng.normal(0, 0.9)
    for factors, amount in ((_HEAVY, weight), (_AGED, age - 0.45), (_CHILDLIKE, float(is_child))):
        for name, factor in factors.items():
            values[IDENTITY_NAMES.index(name)] += factor * amount
    return torch.tensor(np.clip(values, -_MAX_COEFFICIENT, _MAX_COEFFICIENT), dtype=torch.float32)


def _haircut(rng: np.random.Generator, person: Person, age: float, is_child: bool) -> str:
    if person.hair_style == "long":
        return str(rng.choice(["long_straight", "long_wavy", "long_curly"], p=[0.45, 0.35, 0.2]))
    odds = {"bald": 0.04 + 0.12 * age, "buzz": 0.14, "crop": 0.2, "side_part": 0.17, "slick_back": 0.12,
            "fringe": 0.13, "curly": 0.13, "bun": 0.02, "ponytail": 0.02, "bob": 0.03}  # fmt: skip
    if not person.is_masculine:
        odds = {"buzz": 0.02, "pixie": 0.17, "curly": 0.14, "bun": 0.2, "ponytail": 0.19, "bob": 0.28}
    if is_child:
        odds.pop("bald", None)
    if person.melanin > 0.55:
        odds |= {"afro": 0.2, "curly": 0.2, "fringe": 0.02, "side_part": 0.04}
    weights = np.array(list(odds.values()))
    return str(rng.choice(list(odds), p=weights / weights.sum()))


def _beard(rng: np.random.Generator, person: Person, is_child: bool) -> str:
    drawn = str(rng.choice(BEARDS, p=[0.36, 0.22, 0.06, 0.09, 0.15, 0.12]))
    return drawn if person.is_masculine and not is_child else "none"


def _hair_color(rng: np.random.Generator, person: Person, grey_share: float) -> np.ndarray:
    """Return the colour of the hairs that are not grey; people who are grey in the basic appearance get one back."""
    if person.hair_color not in ("grey", "white"):
        return person.hair_srgb
    base = np.array([0.17, 0.115, 0.085]) if person.melanin < 0.5 else np.array([0.09, 0.075, 0.07])
    return np.clip(base * (1 + rng.normal(0, 0.08)), 0, 1) if grey_share < 1 else person.hair_srgb
