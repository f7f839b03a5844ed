"""Identity and expression modes of the builtin head: smooth displacement fields in mm per standard deviation."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from headforge.flame.builtin.field import EYE_CENTRE, LID_RADIUS


@dataclass(frozen=True)
class Places:
    """Where the modes are evaluated, for all N vertices."""

    rest: np.ndarray
    """[N, 3] the template in mm."""
    anchor: np.ndarray
    """[N, 3] like `rest`, but an eyeball's vertices sit at its centre and the lids near it, so both move together."""
    is_skin: np.ndarray
    """[N] 1 on skin, lips and ears, 0 on what lies inside the head."""
    lip_upper: np.ndarray
    """[N] in [0, 1], near the upper lip."""
    lip_lower: np.ndarray
    """[N] in [0, 1], near the lower lip."""
    ear: np.ndarray
    """[N] in [0, 1]."""
    lid_upper: np.ndarray
    """[N, 2] left and right: how far each vertex follows the edge of the upper lid."""
    lid_lower: np.ndarray
    """[N, 2]."""
    lid_target: np.ndarray
    """[N, 3] where the edges meet when the eye is shut."""


Field = Callable[[Places], np.ndarray]


def bump(p: np.ndarray, centre: tuple[float, float, float], radii: tuple[float, float, float]) -> np.ndarray:
    """Return a Gaussian [N] about `centre` and its mirror image; a centre with x = 0 counts once."""
    q = (p - np.array(centre)) / np.array(radii)
    value = np.exp(-(q**2).sum(-1))
    if centre[0]:
        q = (p * np.array([-1.0, 1, 1]) - np.array(centre)) / np.array(radii)
        value = value + np.exp(-(q**2).sum(-1))
    return value


def ramp(x: np.ndarray, low: float, high: float) -> np.ndarray:
    """Return a smooth step from 0 at `low` to 1 at `high`; `low` may be the larger."""
    t = np.clip((x - low) / (high - low), 0, 1)
    return t * t * (3 - 2 * t)


def _along(weight: np.ndarray, x: float | np.ndarray, y: float | np.ndarray, z: float | np.ndarray) -> np.ndarray:
    """Return the displacement [N, 3] (x, y, z) times `weight`."""
    return np.stack(np.broadcast_arrays(weight * x, weight * y, weight * z), -1)


def _side(p: np.ndarray) -> np.ndarray:
    """Return the side of the face [N], -1 to 1, smooth over the middle."""
    return np.tanh(p[:, 0] / 6)


def _about(p: np.ndarray, centre: tuple[float, float, float], weight: np.ndarray,
           scale: tuple[float, float, float]) -> np.ndarray:  # fmt: skip
    """Return the growth [N, 3] about a centre by a fraction per axis."""
    return weight[:, None] * (p - np.array(centre)) * np.array(scale)


def _eye_size(s: Places) -> np.ndarray:
    out = np.zeros_like(s.rest)
    for sign in (1.0, -1.0):
        centre = EYE_CENTRE * np.array([sign, 1, 1])
        d = s.rest - centre
        w = np.exp(-((np.linalg.norm(d, axis=-1) / 24) ** 4)) * (s.rest[:, 0] * sign > 0)
        out += 0.075 * w[:, None] * d
    return out


def _lip_fullness(s: Places) -> np.ndarray:
    """Move the lips' outer borders; the line where they meet stays shut."""
    upper = s.lip_upper * np.clip((s.rest[:, 1] + 51.3) / 6, 0, 1)
    lower = s.lip_lower * np.clip((-51.3 - s.rest[:, 1]) / 7, 0, 1)
    return _along(upper - lower, 0, 1.5, 0) + _along(s.lip_upper + s.lip_lower, 0, 0, 1.1)


def _neck_width(s: Places) -> np.ndarray:
    w = ramp(s.rest[:, 1], -62, -105) * (1 - ramp(s.rest[:, 1], -150, -172) * 0.4) * ramp(s.rest[:, 2], 75, 45)
    return s.is_skin[:, None] * _about(s.rest, (0, 0, -30), w, (0.065, 0, 0.05))


def _identity_fields() -> Mapping[str, Field]:
    return {
        "head_size": lambda s: _about(s.rest, (0, -20, -10), np.ones(len(s.rest)), (0.025, 0.025, 0.025)),
        "head_width": lambda s: _about(s.anchor, (0, 0, 0), np.ones(len(s.rest)), (0.033, 0, 0)),
        "head_depth": lambda s: _about(s.anchor, (0, 0, 30), ramp(s.anchor[:, 1], -110, -60), (0, 0, 0.03)),
        "face_length": lambda s: _along(ramp(s.anchor[:, 1], 20, -95), 0, -4.2, 0),
        "cranium_height": lambda s: _along(ramp(s.anchor[:, 1], 30, 120), 0, 4.5, 0),
        "jaw_width": lambda s: _along(bump(s.anchor, (52, -52, 14), (30, 34, 42)), 4.2 * _side(s.anchor), 0, 0),
        "chin_out": lambda s: _along(bump(s.anchor, (0, -86, 84), (34, 26, 40)), 0, 0, 3.2),
        "chin_down": lambda s: _along(bump(s.anchor, (0, -95, 78), (40, 26, 44)), 0, -3.6, 0),
        "chin_width": lambda s: _along(bump(s.anchor, (19, -82, 74), (18, 22, 26)), 3.2 * _side(s.anchor), 0, -0.6),
        "nose_out": lambda s: _along(bump(s.anchor, (0, -14, 112), (15, 20, 26)), 0, 0.3, 2.8),
        "nose_width": lambda s: _along(bump(s.anchor, (11, -19, 101), (11, 15, 17)), 1.9 * _side(s.anchor), 0, 0),
        "nose_bridge": lambda s: _along(bump(s.anchor, (0, 8, 100), (11, 18, 20)), 0, 0, 2.1),
        "nose_tip_up": lambda s: _along(bump(s.anchor, (0, -18, 110), (15, 13, 19)), 0, 2.4, 0.5),
        "eye_spacing": lambda s: _along(bump(s.anchor, (31, 16, 80), (22, 22, 34)), 1.5 * _side(s.anchor), 0, 0),
        "eye_size": _eye_size,
        "eye_tilt": lambda s: _along(
            s.is_skin * (bump(s.rest, (45, 15, 76), (10, 13, 22)) - bump(s.rest, (18, 14, 82), (7, 9, 16))), 0, 1.3, 0
        ),
        "brow_ridge": lambda s: _along(s.is_skin * bump(s.rest, (24, 37, 92), (26, 10, 26)), 0, -0.8, 2.3),
        "brow_height": lambda s: _along(s.is_skin * bump(s.rest, (28, 36, 90), (28, 11, 30)), 0, 2.0, 0),
        "lip_fullness": _lip_fullness,
        "mouth_width": lambda s: _along(bump(s.anchor, (24, -51, 90), (15, 17, 30)), 2.3 * _side(s.anchor), 0, -0.3),
        "mouth_height": lambda s: _along(bump(s.anchor, (0, -51, 92), (38, 17, 40)), 0, 1.9, 0),
        "cheekbones": lambda s: _along(
            s.is_skin * bump(s.anchor, (52, -4, 58), (22, 17, 30)), 3.0 * _side(s.anchor), 0, 1.6
        ),
        "cheek_fat": lambda s: _along(
            s.is_skin * bump(s.anchor, (47, -38, 58), (24, 28, 38)), 4.2 * _side(s.anchor), 0, 1.6
        ),
        "forehead_slope": lambda s: _along(bump(s.anchor, (0, 82, 84), (62, 38, 50)), 0, 0, 3.6),
        "ear_size": lambda s: (
            s.ear[:, None]
            * _about(_mirror(s.rest), (70, -2, -4), np.ones(len(s.rest)), (0.02, 0.075, 0.075))
            * np.stack([np.sign(s.rest[:, 0]), np.ones(len(s.rest)), np.ones(len(s.rest))], -1)
        ),
        "ear_out": lambda s: _along(
            s.ear * np.clip((12 - s.rest[:, 2]) / 30, 0, None), 3.0 * np.sign(s.rest[:, 0]), 0, 0.5
        ),
        "occiput": lambda s: _along(bump(s.anchor, (0, 30, -100), (70, 55, 50)), 0, 0, -4.5),
        "neck_width": _neck_width,
    }


def _mirror(p: np.ndarray) -> np.ndarray:
    return np.stack([np.abs(p[:, 0]), p[:, 1], p[:, 2]], -1)


def _lids(s: Places, eye: int, upper: float, lower: float) -> np.ndarray:
    """Move the lids' edges a fraction of the way to where they meet, along the lids' sphere for what follows them."""
    w = upper * s.lid_upper[:, eye] + lower * s.lid_lower[:, eye]
    moved = s.rest + w[:, None] * (s.lid_target - s.rest)
    centre = EYE_CENTRE * np.array([1.0 if eye == 0 else -1.0, 1, 1])
    d = moved - centre
    r = np.linalg.norm(d, axis=-1, keepdims=True)
    push = np.where((np.abs(w) > 0.02)[:, None], d / r * np.clip(LID_RADIUS - r, 0, None), 0)
    return moved + push - s.rest


def _corner(s: Places, r: float = 15.0) -> np.ndarray:
    """Return a bump [N] about the corners of the mouth."""
    return bump(s.anchor, (25.5, -51, 89), (r, r * 0.9, 28))


def _smile(s: Places) -> np.ndarray:
    p = s.anchor
    side = _side(p)
    out = _along(_corner(s, 16), 6.2 * side, 7.0, -4.2)
    out += s.is_skin[:, None] * _along(bump(p, (37, -20, 82), (19, 17, 26)), 1.8 * side, 3.6, 2.2)
    out += _along(s.lip_upper + s.lip_lower, 0, 0.8, -0.8)
    return out + _lids(s, 0, 0.06, 0.3) + _lids(s, 1, 0.06, 0.3)


def _frown(s: Places) -> np.ndarray:
    p = s.anchor
    out = _along(_corner(s, 14), 0.8 * _side(p), -5.8, -0.8)
    out += s.is_skin[:, None] * _along(bump(p, (0, -76, 94), (20, 12, 24)), 0, 1.6, 1.2)
    return out + s.is_skin[:, None] * _along(bump(s.rest, (11, 36, 94), (12, 10, 20)), 0, 1.6, 0.6)


def _brow(s: Places, up: float) -> np.ndarray:
    w = s.is_skin * bump(s.rest, (26, 40, 88), (30, 13, 32))
    lids = 0.5 * (_lids(s, 0, -0.16, 0) + _lids(s, 1, -0.16, 0)) * max(up, 0) / 5
    return _along(w, 0, up, 0.25 * up) + lids


def _brow_down(s: Places) -> np.ndarray:
    inner = s.is_skin * bump(s.rest, (11, 35, 94), (13, 11, 24))
    return (
        _brow(s, -2.6)
        + _along(inner, -1.4 * _side(s.rest), -1.6, 1.0)
        + _lids(s, 0, 0.12, 0.1)
        + _lids(s, 1, 0.12, 0.1)
    )


def _pucker(s: Places) -> np.ndarray:
    p = s.anchor
    out = _along(_corner(s, 16), -8.5 * _side(p), 0, 6.0)
    front = bump(p, (0, -51, 98), (20, 16, 26))
    return out + _along(front, 0, 0, 3.6) + _along(s.lip_upper + s.lip_lower, 0, 0, 1.0)


def _mouth_wide(s: Places) -> np.ndarray:
    p = s.anchor
    out = _along(_corner(s, 15), 4.6 * _side(p), -0.4, -3.4) + _along(s.lip_lower - s.lip_upper, 0, 0.8, -0.6)
    return out + s.is_skin[:, None] * _along(bump(p, (42, -50, 70), (12, 18, 24)), 2.2 * _side(p), 0, 0.8)


def _lips_open(s: Places) -> np.ndarray:
    narrow = np.exp(-((s.rest[:, 0] / 19) ** 4))
    return _along(s.lip_upper * narrow, 0, 2.8, 0.5) + _along(s.lip_lower * narrow, 0, -3.2, 0.5)


def _lip_press(s: Places) -> np.ndarray:
    return _along(s.lip_upper, 0, -0.9, -1.9) + _along(s.lip_lower, 0, 0.9, -1.9)


def _cheek_puff(s: Places) -> np.ndarray:
    p = s.anchor
    return s.is_skin[:, None] * _along(bump(p, (43, -45, 68), (20, 20, 30)), 6.5 * _side(p), 0, 4.0)


def _sneer(s: Places) -> np.ndarray:
    p = s.anchor
    out = s.is_skin[:, None] * _along(bump(p, (14, -16, 98), (10, 12, 18)), 1.0 * _side(p), 2.8, 0.4)
    narrow = np.exp(-((s.rest[:, 0] / 22) ** 4))
    out += _along(s.lip_upper * narrow, 0, 3.0, 0.6)
    return out + 0.5 * _brow(s, -2.5)


def _mouth_aside(s: Places) -> np.ndarray:
    return _along(bump(s.anchor, (0, -52, 95), (34, 20, 36)), 5.0, 0, 0)


def _smile_left(s: Places) -> np.ndarray:
    left = ramp(s.rest[:, 0], -4, 14)
    return _smile(s) * left[:, None]


def _expression_fields() -> Mapping[str, Field]:
    return {
        "smile": _smile,
        "frown": _frown,
        "blink_left": lambda s: _lids(s, 0, 1.0, 1.0),
        "blink_right": lambda s: _lids(s, 1, 1.0, 1.0),
        "brow_up": lambda s: _brow(s, 5.0),
        "brow_down": _brow_down,
        "mouth_pucker": _pucker,
        "mouth_wide": _mouth_wide,
        "cheek_puff": _cheek_puff,
        "sneer": _sneer,
        "lips_open": _lips_open,
        "lip_press": _lip_press,
        "squint": lambda s: _lids(s, 0, 0.22, 0.55) + _lids(s, 1, 0.22, 0.55),
        "eyes_wide": lambda s: _lids(s, 0, -0.28, -0.15) + _lids(s, 1, -0.28, -0.15),
        "smile_left": _smile_left,
        "mouth_left": _mouth_aside,
    }


IDENTITY_NAMES = tuple(_identity_fields())
EXPRESSION_NAMES = tuple(_expression_fields())


def identity_modes(places: Places) -> np.ndarray:
    """Return [N, 3, n_shape] mm per standard deviation."""
    return np.stack([field(places) for field in _identity_fields().values()], -1)


def expression_modes(places: Places) -> np.ndarray:
    """Return [N, 3, n_expr] mm per unit; 1 is the full expression, and a shut eye for the blinks."""
    return np.stack([field(places) for field in _expression_fields().values()], -1)
