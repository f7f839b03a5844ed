"""Identity of a synthetic subject: shape coefficients, skin, hair, age. A function of (seed, subject)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch

from headforge.flame.builtin.modes import IDENTITY_NAMES
from headforge.synth.shots.samplers import item_rng

HAIR_STYLES = ("bald", "buzz", "short", "afro", "bun", "medium", "long")
_HAIR_ATTRIBUTE = {"buzz": "short", "afro": "short", "bun": "medium"}
"""Coarse length written as the attribute "hair" where it isn't the style's own name."""
_MASCULINE = {
    "brow_ridge": 0.9, "jaw_width": 0.7, "chin_width": 0.5, "chin_out": 0.3, "neck_width": 0.9, "head_size": 0.6,
    "nose_out": 0.3, "nose_width": 0.3, "lip_fullness": -0.5, "eye_size": -0.6, "brow_height": -0.6,
    "forehead_slope": -0.3, "cheek_fat": -0.1, "face_length": 0.4, "nose_tip_up": -0.4,
}  # fmt: skip
"""Mean identity coefficients of men; women's are the negatives."""
_SKIN_SRGB = np.array(
    [[246, 209, 188], [236, 190, 162], [220, 168, 134], [190, 138, 103], [146, 99, 70], [103, 68, 49], [72, 48, 37]]
) / 255.0  # fmt: skip
_HAIR_SRGB = {
    "black": (0.09, 0.075, 0.07), "dark_brown": (0.17, 0.115, 0.085), "brown": (0.31, 0.20, 0.13),
    "light_brown": (0.46, 0.33, 0.21), "blond": (0.72, 0.57, 0.36), "auburn": (0.42, 0.18, 0.09),
    "grey": (0.58, 0.57, 0.56), "white": (0.85, 0.84, 0.82),
}  # fmt: skip
_IRIS_SRGB = {"brown": (0.27, 0.15, 0.08), "hazel": (0.42, 0.31, 0.15), "green": (0.36, 0.44, 0.28),
              "blue": (0.36, 0.50, 0.64), "grey": (0.46, 0.52, 0.55)}  # fmt: skip


@dataclass(frozen=True)
class Person:
    """Everything that a subject's views share, before geometry and texture."""

    subject: int
    shape: torch.Tensor
    """[n_shape] identity coefficients."""
    is_masculine: bool
    age: float
    """0 young to 1 old."""
    melanin: float
    """0 to 1."""
    skin_srgb: np.ndarray
    """[3]."""
    hair_style: str
    """One of `HAIR_STYLES`."""
    hair_color: str
    hair_srgb: np.ndarray
    """[3]."""
    hair_volume: float
    """About 1."""
    hair_wave: float
    """0 straight to 1 curly."""
    iris_srgb: np.ndarray
    """[3]."""
    iris_color: str
    beard: float
    """0 none, up to 0.45 stubble, 1 full."""
    freckles: float
    makeup: float
    """Colour of the lips and lids, 0 to 1."""
    shirt_srgb: np.ndarray
    """[3]."""

    @property
    def attributes(self) -> dict[str, str]:
        """The subject's attributes in a dataset row."""
        return {
            "hair": _HAIR_ATTRIBUTE.get(self.hair_style, self.hair_style),
            "hair_style": self.hair_style,
            "hair_color": self.hair_color,
            "skin": ("light", "medium", "dark")[min(int(self.melanin * 3), 2)],
            "eyes": self.iris_color,
            "beard": "full" if self.beard > 0.6 else "stubble" if self.beard > 0.1 else "none",
        }


def sample_person(seed: int, subject: int, long_hair_share: float) -> Person:
    """Draw the subject."""
    rng = item_rng(seed, "person", subject)
    is_long = _is_long(seed, subject, long_hair_share)
    is_masculine = bool(rng.random() < (0.15 if is_long else 0.57))
    sign = 1.0 if is_masculine else -1.0
    mean = np.array([sign * _MASCULINE.get(name, 0.0) for name in IDENTITY_NAMES])
    shape = np.clip(mean * rng.uniform(0.5, 1.2) + rng.normal(0, 0.85, len(mean)), -2.4, 2.4)
    age = float(rng.beta(1.6, 2.2))
    melanin = float(rng.beta(0.9, 1.25))
    position = melanin * (len(_SKIN_SRGB) - 1)
    skin = np.array([np.interp(position, range(len(_SKIN_SRGB)), _SKIN_SRGB[:, k]) for k in range(3)])
    skin = np.clip(skin * (1 + rng.normal(0, 0.03) + rng.normal(0, [0.012, 0.012, 0.02])), 0, 1)
    hair_color = _hair_color(rng, melanin, age)
    iris = str(rng.choice(list(_IRIS_SRGB), p=_iris_odds(melanin)))
    style = "long" if is_long else _hair_style(rng, is_masculine, age, melanin)
    has_beard = is_masculine and rng.random() < 0.6
    return Person(
        subject=subject,
        shape=torch.tensor(shape, dtype=torch.float32),
        is_masculine=is_masculine,
        age=age,
        melanin=melanin,
        skin_srgb=skin,
        hair_style=style,
        hair_color=hair_color,
        hair_srgb=np.clip(np.array(_HAIR_SRGB[hair_color]) * (1 + rng.normal(0, 0.08)), 0, 1),
        hair_volume=float(rng.uniform(0.75, 1.3)),
        hair_wave=float(rng.random()),
        iris_srgb=np.clip(np.array(_IRIS_SRGB[iris]) * (1 + rng.normal(0, 0.1)), 0, 1),
        iris_color=iris,
        beard=float(rng.choice([rng.uniform(0.15, 0.45), rng.uniform(0.7, 1.0)], p=[0.65, 0.35])) if has_beard else 0.0,
        freckles=float(rng.random() ** 3 * (1 - melanin)) if rng.random() < 0.5 else 0.0,
        makeup=float(rng.uniform(0.2, 1.0)) if not is_masculine and rng.random() < 0.6 else 0.0,
        shirt_srgb=np.clip(rng.choice(_SHIRTS_SRGB) * rng.uniform(0.8, 1.1), 0, 1),
    )


_SHIRTS_SRGB = np.array(
    [[0.16, 0.18, 0.22], [0.55, 0.14, 0.15], [0.20, 0.32, 0.48], [0.25, 0.38, 0.28], [0.70, 0.68, 0.64],
     [0.42, 0.30, 0.44], [0.72, 0.52, 0.22], [0.10, 0.10, 0.11]]
)  # fmt: skip


def _hair_color(rng: np.random.Generator, melanin: float, age: float) -> str:
    if rng.random() < np.clip((age - 0.55) * 1.8, 0, 0.85):
        return "white" if rng.random() < (age - 0.6) else "grey"
    if melanin > 0.55:
        return str(rng.choice(["black", "dark_brown"], p=[0.8, 0.2]))
    if melanin > 0.3:
        return str(rng.choice(["black", "dark_brown", "brown"], p=[0.45, 0.35, 0.2]))
    return str(rng.choice(["black", "dark_brown", "brown", "light_brown", "blond", "auburn"],
                          p=[0.1, 0.22, 0.24, 0.16, 0.18, 0.1]))  # fmt: skip


def _iris_odds(melanin: float) -> list[float]:
    if melanin > 0.5:
        return [0.95, 0.05, 0, 0, 0]
    return [0.38, 0.16, 0.14, 0.22, 0.10] if melanin < 0.28 else [0.72, 0.14, 0.07, 0.05, 0.02]


def _is_long(seed: int, subject: int, share: float) -> bool:
    """Return whether the hair is long, spread evenly over the subjects so that small datasets match the share too."""
    start = item_rng(seed, "long hair").random()
    return bool((start + subject * (math.sqrt(5) - 1) / 2) % 1.0 < share)


def _hair_style(rng: np.random.Generator, is_masculine: bool, age: float, melanin: float) -> str:
    odds = {"bald": 0.10 + 0.16 * age, "buzz": 0.2, "short": 0.55, "afro": 0.0, "bun": 0.03, "medium": 0.06}
    if not is_masculine:
        odds = {"bald": 0.0, "buzz": 0.03, "short": 0.24, "afro": 0.0, "bun": 0.33, "medium": 0.36}
    if melanin > 0.55:
        odds["afro"] = 0.22
    weights = np.array(list(odds.values()))
    return str(rng.choice(list(odds), p=weights / weights.sum()))
