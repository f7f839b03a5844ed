"""The photo of a face that a package ships: nothing has to be downloaded to try what needs one."""

from __future__ import annotations

import numpy as np
from skimage import data

ASTRONAUT = "builtin:astronaut"
"""Its name wherever a photo is asked for."""


def astronaut() -> np.ndarray:
    """Return NASA's portrait of Eileen Collins, [512, 512, 3] uint8, public domain."""
    return data.astronaut()
