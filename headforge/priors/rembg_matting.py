"""Mattes by the package rembg with a user-supplied ONNX model.

Licence: package MIT; models have their own (U2-Net: Apache 2.0). Nothing is downloaded: the model is given by path.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from headforge.errors import InputError, MissingExtraError

EXTRA, PACKAGE = "rembg", "rembg"
PURPOSE = "matting with rembg"
SESSION = "u2net_custom"
"""rembg's session for a U2-Net-like model from a file."""


class RembgMatter:
    """Foreground matting. Raises MissingExtraError without the package; the model is loaded on first use."""

    def __init__(self, path: Path) -> None:
        _rembg()
        if not path.is_file():
            raise InputError(path, f"{path} does not exist.", "give the path of an ONNX model such as u2net.onnx.")
        self.path = path
        self._session: Any = None

    def __getstate__(self) -> dict[str, object]:
        return {"path": self.path, "_session": None}

    def matte(self, image: np.ndarray) -> np.ndarray:
        """Return the foreground coverage [H, W] float in [0, 1] of an RGB image [H, W, 3] uint8."""
        rembg = _rembg()
        if self._session is None:
            try:
                self._session = rembg.new_session(SESSION, model_path=str(self.path))
            except (RuntimeError, ValueError) as error:
                raise InputError(self.path, f"{self.path} is not a model that rembg can use ({error}).",
                                 "give an ONNX model such as u2net.onnx.") from error  # fmt: skip
        mask = np.asarray(rembg.remove(image, session=self._session, only_mask=True))
        return (mask[..., 0] if mask.ndim == 3 else mask) / 255.0


def _rembg() -> Any:
    try:
        import rembg  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise MissingExtraError(PACKAGE, EXTRA, PURPOSE) from error
    return rembg
