"""Frames per second of a rigged avatar, deformation included, against the published figure.

    python benchmarks/avatar_fps.py [--json] [--out benchmarks/results/avatar_fps_cpu.json] [--frames N]

Every frame has an expression, a jaw angle and a camera of its own: the head model is posed, the Gaussians follow their
triangles, their harmonics (degree 3) are evaluated for the camera, and the picture is splatted. With a CUDA card and
gsplat everything runs there (wall clock, synchronised); otherwise on one core of the processor (process CPU time),
which the result says. Also the control map's forward and backward pass: 65k Gaussians with 8 channels at 512 px.
"""

from __future__ import annotations

import dataclasses
import importlib.util
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import torch

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.record import arguments, finish, machine_record, write
from benchmarks.splat import measure
from headforge.avatar.rig import RiggedGaussians, rgb_to_dc
from headforge.flame.builtin.head import builtin_head
from headforge.flame.files import head_digest
from headforge.flame.model import HeadModel, pose_head
from headforge.geometry.cameras import orbit_camera
from headforge.geometry.meshes import triangle_frames
from headforge.render.splatting.splat import splat
from headforge.types import Camera, HeadParams

COUNTS, SIZES_PX = (60_000, 200_000), (512, 1024)
CONTROL_COUNT, CONTROL_SIZE_PX, CONTROL_CHANNELS = 65_536, 512, 8
PUBLISHED_FPS_512 = 156
"""Frames per second at 512 px on a GPU that FaceCraft4D reports for its GaussianAvatars head."""
SEED = 0
SH_BASIS = 16
FOCAL_PER_WIDTH = 3.2
"""With the camera at 1 m, the head fills about three quarters of the frame's height."""


def random_avatar(head: HeadModel, n: int) -> RiggedGaussians:
    """Return n Gaussians spread evenly over the head: flat, translucent, coloured by all 16 harmonics."""
    generator = torch.Generator().manual_seed(SEED)
    corners = head.v_template[head.faces]
    area = torch.linalg.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]).norm(dim=-1) / 2
    binding = torch.multinomial(area, n, replacement=True, generator=generator).sort().values
    weights = torch.distributions.Dirichlet(torch.ones(3))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED)
        points = (corners[binding] * weights.sample((n,))[..., None]).sum(1)
    rotation, scale, centre = (x[binding] for x in triangle_frames(head.v_template, head.faces))
    local = (rotation.transpose(-1, -2) @ ((points - centre) / scale[:, None])[..., None])[..., 0]
    # 0.6 spacings make a closed, translucent surface; the middle axis is the triangle's normal.
    spacing = (area.sum() / n).sqrt()
    sigmas = 0.6 * spacing * torch.tensor([1.0, 0.2, 1.0]) * torch.exp(0.3 * torch.randn(n, 3, generator=generator))
    sh = 0.05 * torch.randn(n, SH_BASIS, 3, generator=generator)
    sh[:, 0] = rgb_to_dc(torch.tensor([0.8, 0.6, 0.5]) + 0.05 * torch.randn(n, 3, generator=generator))
    return RiggedGaussians(
        model_id=head.model_id,
        binding=binding,
        means=local,
        log_scales=(sigmas / scale[:, None]).log(),
        quats=torch.tensor([1.0, 0.0, 0.0, 0.0]) + 0.1 * torch.randn(n, 4, generator=generator),
        opacity_logits=(0.4 + 0.59 * torch.rand(n, generator=generator)).logit(),
        sh=sh,
        is_free=torch.zeros(n, dtype=torch.bool),
    )


def on_device(head: HeadModel, device: str) -> HeadModel:
    """Return the head model with its tensors on `device`."""
    moved = {f.name: getattr(head, f.name) for f in dataclasses.fields(head)}
    return dataclasses.replace(head, **{k: v.to(device) for k, v in moved.items() if isinstance(v, torch.Tensor)})


def make_frames(head: HeadModel, size: int, n_frames: int, device: str) -> list[tuple[HeadParams, Camera]]:
    """Return an expression, a jaw angle and a camera for each frame."""
    generator = torch.Generator().manual_seed(SEED)
    frames = []
    for _ in range(n_frames):
        neutral = head.neutral((1,))
        params = neutral.replace(
            expr=0.5 * torch.randn(neutral.expr.shape, generator=generator),
            jaw=torch.tensor([[0.2, 0.0, 0.0]]) * torch.rand(1, 1, generator=generator),
        )
        yaw, pitch = 120 * torch.rand(1, generator=generator) - 60, 40 * torch.rand(1, generator=generator) - 20
        camera = orbit_camera(yaw, pitch, distance_m=1.0, focal_px=FOCAL_PER_WIDTH * size, width=size, height=size)
        params = HeadParams(params.model_id, **{k: v.to(device) for k, v in params.tensors().items()})
        frames.append((params, Camera(camera.K.to(device), camera.viewmat.to(device), size, size)))
    return frames


@torch.no_grad()
def draw(
    avatar: RiggedGaussians, head: HeadModel, params: HeadParams, camera: Camera, mark: Callable[[], None]
) -> None:
    """Render a frame; call `mark` after posing, after moving and colouring the Gaussians, and after splatting."""
    vertices = pose_head(head, params)[0]
    mark()
    cloud = avatar.on_mesh(vertices, head.faces, camera.centre[0])
    mark()
    background = cloud.colors.new_ones(1, 3)
    splat(cloud.means, cloud.quats, cloud.scales, cloud.opacities, cloud.colors, camera.viewmat, camera.K,
          camera.width, camera.height, backgrounds=background)  # fmt: skip
    mark()


def measure_avatar(head: HeadModel, n: int, size: int, n_frames: int, device: str) -> dict[str, float | int]:
    """Return one row of the table: medians over the frames, after one warm-up frame."""
    avatar = random_avatar(head, n)
    avatar = avatar.replace(**{name: value.to(device) for name, value in avatar.tensors().items()})
    moved = on_device(head, device)
    clock = time.perf_counter if device == "cuda" else time.process_time
    stages: list[list[float]] = []
    for params, camera in make_frames(head, size, n_frames + 1, device):
        times: list[float] = []

        def mark(times: list[float] = times) -> None:
            if device == "cuda":
                torch.cuda.synchronize()
            times.append(1e3 * clock())

        mark()
        draw(avatar, moved, params, camera, mark)
        stages.append([times[i + 1] - times[i] for i in range(3)])
    pose, rig, drawn = (median(stage) for stage in zip(*stages[1:], strict=True))
    total = median(sum(stage) for stage in stages[1:])
    return {"n": n, "size_px": size, "fps": 1e3 / total, "frame_ms": total, "pose_ms": pose, "rig_and_sh_ms": rig,
            "splat_ms": drawn}  # fmt: skip


def main() -> None:
    """Run the table."""
    parser = arguments(__doc__)
    parser.add_argument("--frames", type=int, help="frames per row; 200 on a card, 7 without")
    options = parser.parse_args()
    torch.set_num_threads(1)
    has_gsplat = importlib.util.find_spec("gsplat") is not None
    device = "cuda" if torch.cuda.is_available() and has_gsplat else "cpu"
    if device == "cpu":
        reason = "the package gsplat is missing" if torch.cuda.is_available() else "no CUDA card here"
        write(f"{reason}: measured on one core of the processor, not on a GPU like the published figure")
    n_frames = options.frames or (200 if device == "cuda" else 7)
    head = builtin_head()
    result: dict[str, object] = {"device": device, "backend": "gsplat" if device == "cuda" else "cpu"}
    rows = []
    for n in COUNTS:
        for size in SIZES_PX:
            row = measure_avatar(head, n, size, n_frames, device)
            rows.append(row)
            result[f"fps_{n // 1000}k_{size}"] = row["fps"]
            write("  ".join(f"{k} {v:.2f}" if isinstance(v, float) else f"{k} {v}" for k, v in row.items()))
    result["published_fps_512"] = PUBLISHED_FPS_512
    fast = "gsplat" if device == "cuda" else "cpu"
    forward, both = measure(fast, CONTROL_COUNT, CONTROL_SIZE_PX, CONTROL_CHANNELS, max(n_frames, 3), device)
    result |= {"control_fwd_ms": forward, "control_fwdbwd_ms": both, "n_frames": n_frames,
               "clock": "process CPU time" if device == "cpu" else "wall, synchronised after each stage",
               "head_model": head.model_id, "head_digest": head_digest(head), **machine_record(seeds=[SEED]),
               "rows": rows}  # fmt: skip
    finish(result, options)


if __name__ == "__main__":
    main()
