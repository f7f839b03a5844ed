"""Measurement protocols: the conditions under which two values of a metric are comparable."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from dataclasses import dataclass


@dataclass(frozen=True)
class Protocol:
    """How a metric was measured; values under different protocols are never compared."""

    metric: str
    """Metric id, such as "psnr", "ssim_gauss11" or "id_dlib"."""
    backend: str
    """Software that computed it, such as "headforge" or "dlib"."""
    weights_sha256: str = ""
    """Of the network behind the metric; empty if there is none."""
    resolution_px: int = 0
    """Side of the compared pictures."""
    resampling: str = "area"
    """How the ground truth was resampled to that resolution."""
    crop: str = "none"
    mask: str = "none"
    """"none" for the whole picture, "truth>0.5" for pixels that the ground truth's mask covers by more than half."""
    background: str = "white"
    split: str = "test"
    pairs: str = ""
    """Description of the compared pictures."""
    average: str = "mean over identities of the mean over views"

    def as_json(self) -> dict[str, str | int]:
        """Return the fields by name."""
        return dataclasses.asdict(self)

    @property
    def hash(self) -> str:
        """Hex SHA-256 of the fields."""
        return hashlib.sha256(json.dumps(self.as_json(), sort_keys=True).encode()).hexdigest()
