"""Defects of generated heads: ears and teeth (glasses are in `glasses`). Only the domain "synthetic" has them.

The regions are those for which the authors of Learn2Control report defects in SphereHead's pictures.
"""

from __future__ import annotations

import numpy as np

from headforge.flame.builtin.head import builtin_head
from headforge.synth.people.paint import PARTS, TextureMap, ramp, texel_noise
from headforge.synth.rich.reflect import GAMMA
from headforge.synth.rich.traits import Traits
from headforge.synth.shots.samplers import item_rng

DEFECT_REGIONS = ("left_ear", "right_ear", "teeth")
"""Regions of the head model that the defects change; glasses come on top."""


def ear_offsets(traits: Traits, seed: int) -> np.ndarray:
    """Return [V, 3] float32 metres that melt the pinna: flattened relief, lumpy rim. Zero elsewhere."""
    head = builtin_head()
    rest = head.v_template.double().numpy()
    out = np.zeros(rest.shape, np.float32)
    rng = item_rng(seed, "ear defects", traits.person.subject)
    for name in ("left_ear", "right_ear"):
        ids = head.regions[name].numpy()
        p = rest[ids]
        centre = p.mean(0)
        d = p - centre
        _, _, axes = np.linalg.svd(d, full_matrices=False)
        across = d @ axes[2]
        waves = rng.normal(0, 2 * np.pi / 0.045, (3, 6))
        lumps = np.sin(p @ waves + rng.uniform(0, 2 * np.pi, 6)).sum(-1) / np.sqrt(3)
        shrink = rng.uniform(0.72, 1.1, 2)
        move = -rng.uniform(0.55, 0.9) * across[:, None] * axes[2]
        move += ((shrink[0] - 1) * (d @ axes[0]))[:, None] * axes[0] + ((shrink[1] - 1) * (d @ axes[1]))[
            :, None
        ] * axes[1]
        away = np.linalg.norm(d - across[:, None] * axes[2], axis=-1) / 0.03
        move += 0.0042 * (lumps * np.clip(away, 0, 1))[:, None] * (axes[0] + 0.6 * axes[1])
        out[ids] = move
    return out


def spoil_teeth(texture: np.ndarray, traits: Traits, seed: int, maps: TextureMap) -> np.ndarray:
    """Return a copy of the texture [R, R, 8] whose teeth have uneven widths, smeared gaps and a wavy gum."""
    rng = item_rng(seed, "teeth defects", traits.person.subject)
    teeth = maps.part == PARTS.index("teeth")
    p = maps.place[teeth]
    arc = np.arcsin(np.clip(p[:, 0] / 20.5 * np.sin(1.35), -1, 1)) / 1.35
    bent = arc + 0.10 * np.sin(5.3 * arc + rng.uniform(0, 6)) + 0.07 * np.sin(11 * arc + rng.uniform(0, 6))
    gap = np.abs(np.cos(np.pi * rng.uniform(2.2, 8.5) * bent)) < 0.2
    smear = np.clip(0.5 + 0.5 * texel_noise(rng, 60, 50)[teeth], 0, 1)
    gum = ramp(np.abs(p[:, 1] + 54.0) + 2.6 * np.sin(14 * bent + rng.uniform(0, 6)), 6.0, 8.2)[:, None]
    enamel = np.array([0.88, 0.82, 0.70]) * (1 - 0.5 * (gap * smear)[:, None]) * (0.85 + 0.2 * smear[:, None])
    color = enamel + gum * (np.array([0.62, 0.33, 0.33]) - enamel)
    out = texture.copy()
    out[teeth, :3] = np.clip(color, 0, 1) ** GAMMA
    return maps.filled(out)
