"""The avatar folder that every fit writes."""

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
from headforge.flame.files import head_digest
from headforge.flame.model import HeadModel
from headforge.geometry.cameras import orbit_camera
from headforge.store.images import encode_png
from headforge.store.video import write_video
from headforge.types import Camera, HeadParams

AVATAR_FORMAT = "headforge-avatar-1"
N_ORBIT, N_EXPRESSIONS = 64, 48
FPS = 25
PITCH_SWING_DEG = 8.0
SHOWN_EXPRESSIONS = ("smile", "brow_up", "mouth_pucker", "blink_left", "frown", "cheek_puff")
EXPRESSION_SIZE = 1.2
EXPRESSION_YAW_DEG = 20.0
JAW_OPEN_RAD = 0.2
GAZE_RAD = 0.25
FRONTAL_SIZE = 512
ORBIT_DISTANCE_M, ORBIT_FOV_DEG = 1.0, 21.5
"""The picture spans 0.38 m at the head, which fills about two thirds of its height."""


@dataclass(frozen=True)
class Avatar:
    """A fitted avatar with its parameters."""

    rigged: RiggedGaussians
    params: HeadParams
    """Unbatched: the subject in the displayed expression; its pose is not used."""
    motion: HeadParams
    """[T] parameters of the training pictures."""


def frontal_params(params: HeadParams) -> HeadParams:
    """Return parameters of the same identity and expression, at the origin facing +z, eyes ahead."""
    still = {name: torch.zeros_like(getattr(params, name)) for name in ("rotation", "neck", "translation", "eyes")}
    return params.replace(**still)


def show_camera(size: int, yaw_deg: float = 0.0, pitch_deg: float = 0.0) -> Camera:
    """Return the camera of turntables and frontal pictures, unbatched, on the CPU."""
    focal = size / (2 * math.tan(math.radians(ORBIT_FOV_DEG) / 2))
    return orbit_camera(yaw_deg, pitch_deg, distance_m=ORBIT_DISTANCE_M, focal_px=focal, width=size, height=size)


def render_frontal(head: HeadModel, avatar: Avatar, size: int) -> np.ndarray:
    """Render a frontal picture [size, size, 3] uint8."""
    return _draw(head, avatar, frontal_params(avatar.params), show_camera(size))


def render_turntable(head: HeadModel, avatar: Avatar, size: int, yaw_max_deg: float) -> np.ndarray:
    """Render [T, size, size, 3] uint8: a swing to both sides in the displayed expression, then frontal expressions."""
    frames = []
    params = frontal_params(avatar.params)
    for phase in np.arange(N_ORBIT) / N_ORBIT * 2 * math.pi:
        camera = show_camera(size, yaw_max_deg * math.sin(phase), PITCH_SWING_DEG * math.sin(2 * phase))
        frames.append(_draw(head, avatar, params, camera))
    for step in range(N_EXPRESSIONS):
        time = step / N_EXPRESSIONS
        camera = show_camera(size, EXPRESSION_YAW_DEG * math.sin(2 * math.pi * time))
        frames.append(_draw(head, avatar, moving_params(head, params, time), camera))
    return np.stack(frames)


def moving_params(head: HeadModel, params: HeadParams, time: float) -> HeadParams:
    """Return parameters at time [0, 1) of an animation: expression components in turn, the jaw, the gaze."""
    names = [name for name in SHOWN_EXPRESSIONS if name in head.expression_names]
    shown = [head.expression_names.index(name) for name in names] or list(range(min(head.n_expr, 4)))
    place, phase = divmod(time * len(shown), 1.0)
    expr, jaw, eyes = params.expr.clone(), params.jaw.clone(), params.eyes.clone()
    expr[shown[int(place)]] += EXPRESSION_SIZE * math.sin(math.pi * phase) ** 2
    jaw[0] += JAW_OPEN_RAD * max(0.0, math.sin(2 * math.pi * (time - 0.5))) ** 2
    eyes[[1, 4]] += GAZE_RAD * math.sin(4 * math.pi * time)
    return params.replace(expr=expr, jaw=jaw, eyes=eyes)


def _draw(head: HeadModel, avatar: Avatar, params: HeadParams, camera: Camera) -> np.ndarray:
    return to_uint8(render_avatar(avatar.rigged, head, params, camera.to(head.device))).cpu().numpy()


def write_avatar(
    output: Path, head: HeadModel, avatar: Avatar, config: FitConfig, provenance: Mapping[str, object]
) -> None:
    """Write everything but predictions into the existing folder `output`.

    Head and avatar are on one device, where pictures are rendered.
    """
    manifest = {
        "format": AVATAR_FORMAT,
        "model_id": head.model_id,
        "head_model_sha256": head_digest(head),
        "n_gaussians": len(avatar.rigged),
        "n_hair": int(avatar.rigged.is_free.sum()),
        "sh_degree": avatar.rigged.sh_degree,
        "synthetic_media": True,
        "config": asdict(config),
        **provenance,
    }
    params = frontal_params(avatar.params)
    save_rigged(avatar.rigged, output / "avatar.safetensors", params, {})
    (output / "avatar.json").write_text(json.dumps(manifest, indent=2, sort_keys=True) + "\n")
    write_rigged_ply(output / "point_cloud.ply", avatar.rigged)
    write_flame_params(output / "flame_param.npz", avatar.motion, head.n_vertices)
    cloud = avatar.rigged.posed(head, params, show_camera(FRONTAL_SIZE).centre.to(head.device))
    write_posed_ply(output / "posed.ply", cloud)
    write_spz(output / "posed.spz", cloud)
    (output / "frontal.png").write_bytes(encode_png(render_frontal(head, avatar, FRONTAL_SIZE)))
    frames = render_turntable(head, avatar, config.turntable_size, config.turntable_yaw_max_deg)
    write_video(output / "turntable.mp4", frames, FPS)
