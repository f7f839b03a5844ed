"""Head models: loading, posing, drawing."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch

from headforge.api.cameras import orbit_camera
from headforge.devices import resolve_device
from headforge.errors import InputError
from headforge.flame import files
from headforge.flame.builtin.head import builtin_head
from headforge.flame.colors import clay_colors
from headforge.flame.model import HeadModel, pose_head
from headforge.flame.poses import posed_params
from headforge.render.shaded import shaded_mesh, studio_light
from headforge.types import Camera, HeadParams

BUILTIN = "builtin"


def load_head(source: str | Path = BUILTIN, *, device: str | torch.device = "cpu") -> HeadModel:
    """Load a head model: "builtin", a head_model.safetensors, or a folder with one (a dataset, a trained model).

    Raises InputError if there is no such file, DataError if it is not a head model or is damaged, ConfigError for a
    device that is not there.
    """
    found = resolve_device(device)
    if source == BUILTIN:
        return builtin_head().to(found)
    path = Path(source)
    if path.is_dir():
        path = path / files.HEAD_FILE
    if not path.is_file():
        help = f"give 'builtin', a {files.HEAD_FILE}, or the folder of a dataset or trained model."
        raise InputError(path, f"there is no head model at '{path}'.", help)
    return files.load_head(path).to(found)


def pose_params(
    head: HeadModel,
    params: HeadParams | None = None,
    *,
    expression: Mapping[str, float] | None = None,
    jaw_open_deg: float | None = None,
    gaze_yaw_deg: float | None = None,
    neck_yaw_deg: float | None = None,
) -> HeadParams:
    """Return head parameters, by default neutral and unbatched, with an expression, open mouth, gaze or turn.

    `expression` maps names of `head.expression_names` to coefficients, such as {"smile": 1.0}. Angles are in degrees;
    positive yaws turn towards the subject's left. Other parameters stay as in `params`. Raises ConfigError for
    an expression that the head model does not have.
    """
    return posed_params(
        head, head.neutral() if params is None else params, expression=expression, jaw_open_deg=jaw_open_deg,
        gaze_yaw_deg=gaze_yaw_deg, neck_yaw_deg=neck_yaw_deg,
    )  # fmt: skip


@torch.no_grad()
def render_head(
    head: HeadModel, params: HeadParams | None = None, camera: Camera | None = None, *, size: int = 512
) -> np.ndarray:
    """Render the bare head model in studio light over white: [H, W, 3] uint8 sRGB.

    `params` (default: neutral) and `camera` (default: in front, `size` pixels) are unbatched; the work is done on the
    head model's device. Raises ModelMismatchError for parameters of another head model.
    """
    device = head.v_template.device
    person = (head.neutral() if params is None else params).to(device)
    vertices = pose_head(head, HeadParams.stack([person]))[0]
    seen_by = (orbit_camera(size=size) if camera is None else camera).to(device)
    image = shaded_mesh(
        vertices, head.faces, clay_colors(head).to(device), seen_by, studio_light().to(device)
    )  # fmt: skip
    return (image * 255).round().byte().cpu().numpy()
