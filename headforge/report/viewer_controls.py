"""The sliders of the viewer: which parameters of the head each of them moves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from headforge.flame.model import JOINTS, HeadModel
from headforge.types import HeadParams


@dataclass(frozen=True)
class Control:
    """One slider: head parameters added to the rest pose, times the slider's value."""

    label: str
    expr: Mapping[int, float] = field(default_factory=dict)
    """Expression coefficient by component."""
    rotations: Mapping[str, tuple[float, float, float]] = field(default_factory=dict)
    """Axis-angle in radians by joint of `JOINTS`, at the value 1."""
    minimum: float = 0.0
    """-1 for a slider with two directions, 0 for one that starts at rest."""
    initial: float = 0.0
    in_show: bool = True
    """Whether the viewer's automatic animation includes it."""


HEAD_CONTROLS = (
    Control("Turn", rotations={"neck": (0.0, 0.45, 0.0)}, minimum=-1.0, in_show=False),
    Control("Nod", rotations={"neck": (0.28, 0.0, 0.0)}, minimum=-1.0, in_show=False),
    Control("Open jaw", rotations={"jaw": (0.28, 0.0, 0.0)}),
    Control(
        "Gaze",
        rotations={"left_eye": (0.0, 0.45, 0.0), "right_eye": (0.0, 0.45, 0.0)},
        minimum=-1.0,
    ),
)
"""Controls every head model of the layout has. Positive turn and gaze are towards the subject's left."""


def controls_for(head: HeadModel, own: HeadParams, n_expressions: int = 6) -> tuple[Control, ...]:
    """Return the sliders of an avatar: its own expression (on), the head's joints, and named expression components.

    `own` are the unbatched parameters of the picture the avatar was made from.
    """
    expression = {i: float(v) for i, v in enumerate(own.expr) if abs(float(v)) > 1e-4}
    angles = {"jaw": own.jaw, "left_eye": own.eyes[:3], "right_eye": own.eyes[3:]}
    rotations = {joint: (float(a[0]), float(a[1]), float(a[2])) for joint, a in angles.items()}
    photo = Control("Own expression", expr=expression, rotations=rotations, initial=1.0, in_show=False)
    amount = NAMED_AMOUNT if head.expression_names else UNNAMED_AMOUNT
    named = chosen_expressions(head.expression_names, head.n_expr, n_expressions)
    sliders = tuple(Control(label, expr=dict.fromkeys(indices, amount)) for label, indices in named)
    return (photo, *HEAD_CONTROLS, *sliders)


WANTED_EXPRESSIONS = ("smile", "blink", "brow up", "pucker", "frown", "sneer", "puff", "funnel", "surprise")
"""Names or parts of names of components, the most expressive first."""
NAMED_AMOUNT = 1.0
"""Slider's end for components with names: 1 is the whole expression."""
UNNAMED_AMOUNT = 2.0
"""Slider's end for principal components, in standard deviations."""


def chosen_expressions(names: Sequence[str], n_expr: int, limit: int) -> list[tuple[str, tuple[int, ...]]]:
    """Return up to `limit` (label, components), wanted names first; a left and a right component share one."""
    names = [name.replace("_", " ") for name in names]
    names += [f"expression {i + 1}" for i in range(len(names), n_expr)]
    groups: dict[str, list[int]] = {}
    for index, name in enumerate(names):
        stem = name.removesuffix(" left").removesuffix(" right")
        both = stem != name and {f"{stem} left", f"{stem} right"} <= set(names)
        groups.setdefault(stem if both else name, []).append(index)

    def rank(name: str) -> int:
        matches = [i for i, wanted in enumerate(WANTED_EXPRESSIONS) if wanted in name]
        one_sided = name.endswith((" left", " right"))
        return matches[0] if matches and not one_sided else len(WANTED_EXPRESSIONS)

    ranked = sorted(groups, key=lambda name: (rank(name), groups[name][0]))[:limit]
    return [(name.capitalize(), tuple(groups[name])) for name in ranked]


def rest_params(own: HeadParams) -> HeadParams:
    """Return the subject's identity with a neutral face, looking ahead, at the origin."""
    zero = {name: torch.zeros_like(value) for name, value in own.tensors().items()}
    return HeadParams(own.model_id, **{**zero, "shape": own.shape})


def with_control(params: HeadParams, control: Control, value: float) -> HeadParams:
    """Return unbatched `params` with a control's parameters added, times `value`."""
    expr = params.expr.clone()
    for index, amount in control.expr.items():
        expr[index] += value * amount
    angles = torch.stack([params.rotation, params.neck, params.jaw, params.eyes[:3], params.eyes[3:]])
    angles = angles + value * torch.from_numpy(rotation_rows(control))
    return params.replace(
        expr=expr, rotation=angles[0], neck=angles[1], jaw=angles[2], eyes=torch.cat([angles[3], angles[4]])
    )


def rotation_rows(control: Control) -> np.ndarray:
    """Return [5, 3] axis-angle of every joint at the control's value 1."""
    return np.array([control.rotations.get(joint, (0.0, 0.0, 0.0)) for joint in JOINTS], np.float32)
