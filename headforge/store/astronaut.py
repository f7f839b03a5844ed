"""A portrait that scikit-image ships, for trying photo commands without a download."""

from __future__ import annotations

import numpy as np
from skimage import data

ASTRONAUT = "builtin:astronaut"
"""Its name where a photo's path is expected."""


def astronaut() -> np.ndarray:
    """Return NASA's portrait of Eileen Collins, [512, 512, 3] uint8, public domain."""
    return data.astronaut()
