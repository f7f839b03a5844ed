"""The avatar folder: what every fit writes."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch

from headforge.avatar.config import FitConfig
from headforge.avatar.export import write_flame_params, write_posed_ply, write_rigged_ply, write_spz
from headforge.avatar.render import render_avatar, to_uint8
from headforge.avatar.rig import RiggedGaussians, save_rigged
from headforge.flame.model import HeadModel
from headforge.geometry.cameras import orbit_camera
from headforge.store.images import encode_png
from headforge.store.video import write_video
from headforge.types import Camera, HeadParams

AVATAR_FORMAT = "headforge-avatar-1"
N_ORBIT, N_EXPRESSIONS = 64, 48
FPS = 25
PITCH_SWING_DEG = 8.0
EXPRESSION_SIZE = 1.4
JAW_OPEN_RAD = 0.18
ORBIT_DISTANCE_M, ORBIT_FOV_DEG = 1.0, 21.5
"""The picture spans 0.38 m at the head: about two thirds of its height is head."""


@dataclass(frozen=True)
class Avatar:
    """A fitted avatar with what belongs to it."""

    rigged: RiggedGaussians
    params: HeadParams
    """Unbatched: the subject in the expression it is shown in; its pose is not used."""
    motion: HeadParams
    """[T] parameters of the pictures it was fitted to."""


def frontal_params(params: HeadParams) -> HeadParams:
    """The same person and expression, facing +z from the origin, eyes ahead."""
    zero = torch.zeros(3)
    return params.replace(rotation=zero, neck=zero, translation=zero, eyes=torch.zeros(6))


def show_camera(size: int, yaw_deg: float = 0.0, pitch_deg: float = 0.0) -> Camera:
    """The camera of turntables and frontal pictures, unbatched."""
    focal = size / (2 * math.tan(math.radians(ORBIT_FOV_DEG) / 2))
    return orbit_camera(yaw_deg, pitch_deg, distance_m=ORBIT_DISTANCE_M, focal_px=focal, width=size, height=size)


def render_frontal(avatar: Avatar, size: int) -> np.ndarray:
    """[size, size, 3] uint8 from straight ahead."""
    return to_uint8(render_avatar(avatar.rigged, avatar.head, avatar.params, show_camera(size))).numpy()


def render_turntable(avatar: Avatar, size: int, yaw_max_deg: float) -> np.ndarray:
    """[T, size, size, 3] uint8: a swing to both sides in the shown expression, then expressions from ahead."""
    frames = []
    for phase in np.arange(N_ORBIT) / N_ORBIT * 2 * math.pi:
        camera = show_camera(size, yaw_max_deg * math.sin(phase), PITCH_SWING_DEG * math.sin(2 * phase))
        frames.append(render_avatar(avatar.rigged, avatar.head, avatar.params, camera))
    for step in range(N_EXPRESSIONS):
        params, yaw_deg = _expression(avatar, step / N_EXPRESSIONS)
        frames.append(render_avatar(avatar.rigged, avatar.head, params, show_camera(size, yaw_deg)))
    return torch.stack([to_uint8(frame) for frame in frames]).numpy()


def _expression(avatar: Avatar, time: float) -> tuple[HeadParams, float]:
    """Parameters and camera azimuth at a time in [0, 1): the first expression components one after the other."""
    n = min(avatar.head.n_expr, 6)
    index, phase = divmod(time * n, 1.0)
    strength = math.sin(math.pi * phase) ** 2
    expr = avatar.params.expr.clone()
    expr[int(index)] += EXPRESSION_SIZE * strength
    jaw = avatar.params.jaw.clone()
    jaw[0] = jaw[0] + JAW_OPEN_RAD * math.sin(2 * math.pi * time) ** 2 * (time < 0.5)
    return avatar.params.replace(expr=expr, jaw=jaw), 20 * math.sin(2 * math.pi * time)


def write_avatar(
    output: Path, avatar: Avatar, config: FitConfig, provenance: Mapping[str, object], *, frontal_size: int
) -> None:
    """Write everything but predictions into the folder `output`, which exists."""
    manifest = {
        "format": AVATAR_FORMAT,
        "model_id": avatar.head.model_id,
        "n_gaussians": len(avatar.rigged),
        "n_hair": int(avatar.rigged.is_free.sum()),
        "sh_degree": avatar.rigged.sh_degree,
        "synthetic_media": True,
        "config": asdict(config),
        **provenance,
    }
    save_rigged(avatar.rigged, output / "avatar.safetensors", avatar.params, {})
    (output / "avatar.json").write_text(json.dumps(manifest, indent=2, sort_keys=True) + "\n")
    write_rigged_ply(output / "point_cloud.ply", avatar.rigged)
    write_flame_params(output / "flame_param.npz", avatar.motion, avatar.head.n_vertices)
    cloud = avatar.rigged.posed(avatar.head, avatar.params)
    write_posed_ply(output / "posed.ply", cloud)
    write_spz(output / "posed.spz", cloud)
    (output / "frontal.png").write_bytes(encode_png(render_frontal(avatar, frontal_size)))
    frames = render_turntable(avatar, config.turntable_size, config.turntable_yaw_max_deg)
    write_video(output / "turntable.mp4", frames, FPS)
