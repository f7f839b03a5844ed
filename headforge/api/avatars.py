"""Avatars: loading, posing, drawing, exporting."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from headforge.api.cameras import orbit_camera
from headforge.api.folders import require_kind
from headforge.avatar.export import write_posed_ply, write_spz
from headforge.avatar.output import frontal_params, show_camera
from headforge.avatar.render import render_avatar, to_uint8
from headforge.avatar.rig import RiggedGaussians, load_rigged
from headforge.devices import resolve_device
from headforge.errors import InputError, ModelMismatchError
from headforge.flame.builtin.head import builtin_head
from headforge.flame.model import HeadModel
from headforge.flame.poses import posed_params
from headforge.types import Camera, HeadParams

GAUSSIANS_FILE = "avatar.safetensors"
WRITERS = {".ply": write_posed_ply, ".spz": write_spz}
"""By the suffix of the file: 3D Gaussian splatting's PLY, Niantic's SPZ."""


@dataclass(frozen=True)
class PosedAvatar:
    """An animatable person in one pose."""

    name: str
    gaussians: RiggedGaussians
    head: HeadModel
    """The head model that moves the Gaussians."""
    params: HeadParams
    """Unbatched: the person and the pose."""

    def pose(
        self,
        params: HeadParams | None = None,
        *,
        expression: Mapping[str, float] | None = None,
        jaw_open_deg: float | None = None,
        gaze_yaw_deg: float | None = None,
        neck_yaw_deg: float | None = None,
    ) -> PosedAvatar:
        """Return the avatar in another pose; this one stays as it is.

        `params`, unbatched, replaces all parameters, identity included; the others then change it as `pose_params`
        does. Raises ConfigError for an expression that the head model does not have, ModelMismatchError for parameters
        of another head model.
        """
        given = self.params if params is None else params.to(self.params.expr.device)
        if given.model_id != self.head.model_id:
            raise ModelMismatchError(self.head.model_id, given.model_id)
        posed = posed_params(
            self.head, given, expression=expression, jaw_open_deg=jaw_open_deg, gaze_yaw_deg=gaze_yaw_deg,
            neck_yaw_deg=neck_yaw_deg,
        )  # fmt: skip
        return replace(self, params=posed)

    def render(self, camera: Camera | None = None, *, size: int = 512) -> np.ndarray:
        """Render the avatar over white: [H, W, 3] uint8 sRGB; by default from the front with `size` pixels a side."""
        seen_by = (orbit_camera(size=size) if camera is None else camera).to(self.params.expr.device)
        return to_uint8(render_avatar(self.gaussians, self.head, self.params, seen_by)).cpu().numpy()

    def export(self, path: str | Path) -> Path:
        """Export the posed avatar for splat viewers, as .ply or .spz by the path's suffix; return the path.

        World space, metres, y up, face towards +z. Colours are those seen from the front: the formats' constant term.
        Raises InputError for another suffix.
        """
        target = Path(path)
        if target.suffix not in WRITERS:
            help = f"give a path that ends in {' or '.join(WRITERS)}."
            raise InputError(target, f"avatars are not exported as '{target.suffix or target.name}'.", help)
        eye = show_camera(1).centre.to(self.params.expr.device)
        cloud = self.gaussians.posed(self.head, self.params, eye)
        WRITERS[target.suffix](target, cloud.to(torch.device("cpu")))
        return target


def load_avatar(
    folder: str | Path, *, head: HeadModel | None = None, device: str | torch.device = "cpu"
) -> PosedAvatar:
    """Load an avatar folder, such as data/avatars/astronaut, in the expression it was fitted in, facing ahead.

    `head` is the model that it was fitted with (`load_head`); it may be left out for the builtin one. Raises InputError
    if the folder is not an avatar or if its head model is needed, DataError if it is damaged, ModelMismatchError for
    another head model, ConfigError for a device that is not there.
    """
    path, found = require_kind(folder, "avatar"), resolve_device(device)
    gaussians, own = load_rigged(path / GAUSSIANS_FILE)
    model = builtin_head() if head is None else head
    if model.model_id != gaussians.model_id:
        if head is not None:
            raise ModelMismatchError(gaussians.model_id, model.model_id)
        help = "pass it: headforge.load_avatar(folder, head=headforge.load_head('data/synthetic'))."
        raise InputError(path, f"'{path}' was fitted with the head model '{gaussians.model_id}'.", help)
    gaussians, model, params = (value.to(found) for value in (gaussians, model, frontal_params(own)))
    return PosedAvatar(path.name, gaussians, model, params)
