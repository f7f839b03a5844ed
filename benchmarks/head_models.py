"""Comparison of head models: posing, fit of views, and a contact sheet.

    python benchmarks/head_models.py [FILE ...] [--json] [--out FILE] [--pictures FOLDER]

Each FILE is a head model as `save_head` writes it (FLAME or ICT-FaceKit converted); the builtin head comes first.
Measured: landmarks of an open jaw and a turned gaze, how far the far side of the jaw line lies inside the outline of a
rendered face at 30 degrees of yaw (with its own row of the contour, and with the opposite turn's), milliseconds to
pose one head, and the fit of benchmarks/track.py's studio scene.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from scipy.ndimage import distance_transform_edt
from torch import Tensor

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.record import arguments, best_ms, finish, machine_record
from benchmarks.track import STUDIO, solve_all
from headforge.flame.builtin.head import builtin_head
from headforge.flame.files import head_digest, load_head
from headforge.flame.landmark_sets import landmark_points
from headforge.flame.model import HeadModel, pose_head
from headforge.geometry.cameras import orbit_camera, project
from headforge.render.mesh import interpolate, rasterize
from headforge.render.shading import pixel_normals
from headforge.types import Camera, HeadParams

COLORS = {
    "scalp": (0.45, 0.3, 0.2), "neck": (0.8, 0.55, 0.45), "lips": (0.8, 0.35, 0.35), "left_ear": (0.5, 0.8, 0.5),
    "right_ear": (0.5, 0.8, 0.5), "teeth": (1.0, 1.0, 0.95), "gums": (0.7, 0.2, 0.25), "tongue": (0.7, 0.2, 0.25),
    "mouth_interior": (0.4, 0.12, 0.12), "left_eyeball": (1.0, 1.0, 1.0), "right_eyeball": (1.0, 1.0, 1.0),
}  # fmt: skip
SKIN, IRIS = (0.95, 0.72, 0.6), (0.15, 0.25, 0.45)
IRIS_COSINE = 0.92
SIZE = 320
TURN_DEG = 30.0
JAW_RAD, GAZE_RAD = 0.35, 0.4


def camera_at(yaw_deg: float, size: int = SIZE) -> Camera:
    """Return a camera 1.2 m from the head's origin."""
    return orbit_camera(
        torch.tensor([yaw_deg]), 0.0, distance_m=1.2, focal_px=3.4 * size, width=size, height=size,
        target=torch.tensor([0.0, -0.02, 0.0]),
    )  # fmt: skip


def vertex_colors(head: HeadModel) -> Tensor:
    """Return colours [V, 3] by region; the eyeballs have an iris about their forward axis."""
    colors = torch.tensor(SKIN).repeat(head.n_vertices, 1)
    for name, color in COLORS.items():
        if name in head.regions:
            colors[head.regions[name]] = torch.tensor(color)
    joints = head.joint_regressor @ head.v_template
    for joint, name in ((3, "left_eyeball"), (4, "right_eyeball")):
        ids = head.regions[name]
        ahead = torch.nn.functional.normalize(head.v_template[ids] - joints[joint], dim=-1)[:, 2]
        colors[ids[ahead > IRIS_COSINE]] = torch.tensor(IRIS)
    return colors


def picture(head: HeadModel, params: HeadParams, yaw_deg: float = 0.0, *, marked: bool = False) -> np.ndarray:
    """Render [SIZE, SIZE, 3] uint8 over white, with the 70 landmarks of that turn if `marked`."""
    camera, vertices = camera_at(yaw_deg), pose_head(head, params)
    seen = rasterize(vertices, head.faces, camera)
    normals = pixel_normals(seen, vertices, head.faces)[0]
    towards = torch.nn.functional.normalize(camera.centre[0] + torch.tensor([0.3, 0.6, 0.0]), dim=0)
    light = 0.3 + 0.7 * (normals @ towards).clamp_min(0)
    color = interpolate(seen, vertex_colors(head)[head.faces][None])[0] * light[..., None]
    image = torch.where(seen.mask[0][..., None], color, torch.ones(3)).clamp(0, 1).mul(255).byte().numpy()
    if marked:
        points = project(camera, landmark_points(head, vertices, 70, yaw_deg))[0][0].long().clamp(1, SIZE - 2)
        for column, row in points.tolist():
            image[row - 1 : row + 2, column - 1 : column + 2] = (30, 30, 255)
    return image


def sheet(head: HeadModel) -> np.ndarray:
    """Render rows of four: rest, jaw, gaze, neck, first expressions and identities, landmarks of turned heads."""
    rest = head.neutral((1,))

    def row(**fields: list[float]) -> HeadParams:
        return rest.replace(**{name: torch.tensor([value]) for name, value in fields.items()})

    def mode(name: str, index: int, amount: float) -> HeadParams:
        value = torch.zeros_like(getattr(rest, name))
        value[0, index] = amount
        return rest.replace(**{name: value})

    up, aside = [-GAZE_RAD, 0.0, 0.0] * 2, [0.0, GAZE_RAD, 0.0] * 2
    poses = [
        (rest, 0.0), (rest, 90.0), (row(jaw=[JAW_RAD, 0, 0]), 0.0), (row(jaw=[JAW_RAD, 0, 0]), 60.0),
        (row(eyes=aside), 0.0), (row(eyes=up), 0.0), (row(neck=[0.3, 0, 0]), 60.0), (row(neck=[0, 0.5, 0]), 0.0),
    ]  # fmt: skip
    poses += [(mode("expr", k, 1.0), 20.0) for k in range(min(head.n_expr, 4))]
    poses += [(mode("shape", k, 2.0), 20.0) for k in range(4)]
    images = [picture(head, params, yaw) for params, yaw in poses]
    images += [picture(head, rest, yaw, marked=True) for yaw in (-TURN_DEG, 0.0, TURN_DEG, 45.0)]
    rows = [np.concatenate(images[k : k + 4], axis=1) for k in range(0, len(images) - 3, 4)]
    return np.concatenate(rows)


def far_side_px(head: HeadModel, as_if_deg: float) -> float:
    """Return the mean pixels of the far jaw points of the turn `as_if_deg` inside the outline at `TURN_DEG`."""
    camera = camera_at(TURN_DEG)
    skin = torch.ones(head.n_vertices, dtype=torch.bool)
    for name in ("left_ear", "right_ear", "scalp", "neck"):
        skin[head.regions[name]] = False
    mask = rasterize(head.v_template[None], head.faces[skin[head.faces].all(-1)], camera).mask[0].numpy()
    inside = distance_transform_edt(np.pad(mask, 1))
    points = landmark_points(head, head.v_template, 68, as_if_deg)[1:6]
    columns, rows = project(camera[0], points)[0].floor().long().clamp(0, SIZE - 1).T + 1
    return float(inside[rows, columns].mean())


def measure(head: HeadModel) -> dict[str, object]:
    """Measure one model as the module's docstring lists."""
    rest = head.neutral((1,))
    still = landmark_points(head, pose_head(head, rest), 70)[0]
    opened = landmark_points(head, pose_head(head, rest.replace(jaw=torch.tensor([[JAW_RAD, 0.0, 0.0]]))), 70)[0]
    gaze = rest.replace(eyes=torch.tensor([[0.0, GAZE_RAD, 0.0] * 2]))
    turned = landmark_points(head, pose_head(head, gaze), 70)[0]
    fit = solve_all(head, STUDIO, 4)
    return {
        "digest": head_digest(head), "n_vertices": head.n_vertices, "n_faces": len(head.faces),
        "n_shape": head.n_shape, "n_expr": head.n_expr,
        "jaw_opens_mm": 1e3 * float((opened[62] - opened[66]).norm() - (still[62] - still[66]).norm()),
        "upper_face_moves_mm": 1e3 * float((opened[27:48] - still[27:48]).norm(dim=-1).max()),
        "gaze_moves_pupils_mm": (1e3 * (turned - still)[68:, 0]).tolist(),
        "contour_px": far_side_px(head, TURN_DEG), "contour_opposite_px": far_side_px(head, -TURN_DEG),
        "pose_ms": best_ms(lambda: pose_head(head, rest), 5),
        "rms_px": fit.rms_px, "noise_floor_px": fit.noise_floor_px, "vertex_mm": fit.vertex_mm,
        "focal_pct": fit.focal_pct,
    }  # fmt: skip


def main() -> None:
    """Measure every model; write the sheets if requested."""
    parser = arguments(__doc__)
    parser.add_argument("files", nargs="*", type=Path, help="files of head models")
    parser.add_argument("--pictures", type=Path, help="folder for one sheet of pictures per model")
    options = parser.parse_args()
    torch.set_num_threads(1)
    result: dict[str, object] = {}
    for head in [builtin_head(), *map(load_head, options.files)]:
        result[head.model_id] = measure(head)
        if options.pictures:
            options.pictures.mkdir(parents=True, exist_ok=True)
            Image.fromarray(sheet(head)).save(options.pictures / f"{head.model_id}.png")
    finish(result | machine_record(seeds=list(range(4))), options)


if __name__ == "__main__":
    main()
