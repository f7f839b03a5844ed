"""Splatting speed: the fast backend of this machine against the vectorised torch twin, on one core, in one run.

    python benchmarks/splat.py [--json] [--out benchmarks/results/splat.json] [--quick]

Times are process CPU time, the minimum of several runs, so that load disturbs the ratios little.
The last line of `--json` is a JSON object with fwd_ratio_geomean, fwdbwd_ratio_geomean and isa.
"""

from __future__ import annotations

import math
import sys
import time
from pathlib import Path

import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.record import arguments, best_ms, finish, machine_record, write
from headforge.geometry.cameras import orbit_camera
from headforge.render.splatting.splat import Backend, SplatResult, splat

COUNTS, SIZES_PX, CHANNELS = (5_000, 20_000, 65_536), (64, 128, 256), (3, 8)
HALF_AXES_M = (0.075, 0.115, 0.095)
SEED, FILL = 0, 0.3
"""Fraction of the frame that the head covers."""


def head_scene(n: int, size: int, channels: int) -> list[Tensor]:
    """Return a UV grid of about n anisotropic Gaussians on a head-size ellipsoid, opacity 0.4-0.99, and a camera."""
    generator = torch.Generator().manual_seed(SEED)
    rows = int(math.sqrt(n / 2))
    columns = n // rows
    polar = math.pi * (torch.arange(rows) + 0.5) / rows
    around = 2 * math.pi * (torch.arange(columns) + 0.5) / columns
    polar, around = (x.reshape(-1) for x in torch.meshgrid(polar, around, indexing="ij"))
    n = rows * columns
    unit = torch.stack([polar.sin() * around.cos(), polar.cos(), polar.sin() * around.sin()], dim=-1)
    # 0.095 m is about the radius of the sphere of equal area; 0.6 spacings make a closed, translucent surface.
    spacing = math.sqrt(4 * math.pi * 0.095**2 / n)
    scales = 0.6 * spacing * torch.exp(0.4 * torch.randn(n, 3, generator=generator))
    focal_px = size * math.sqrt(FILL / (math.pi * HALF_AXES_M[0] * HALF_AXES_M[1]))
    camera = orbit_camera(torch.tensor([15.0]), torch.tensor([5.0]), distance_m=1.0, focal_px=focal_px, width=size,
                          height=size)  # fmt: skip
    return [
        unit * torch.tensor(HALF_AXES_M),
        torch.randn(n, 4, generator=generator),
        scales,
        0.4 + 0.59 * torch.rand(n, generator=generator),
        torch.rand(n, channels, generator=generator),
        camera.viewmat,
        camera.K,
    ]


def measure(backend: Backend, n: int, size: int, channels: int, n_runs: int, device: str) -> tuple[float, float]:
    """Return milliseconds forward and forward + backward (gradients of all six inputs and the background)."""
    *scene, K = (x.to(device) for x in head_scene(n, size, channels))
    background = torch.ones(1, channels, device=device)
    clock = time.perf_counter if device == "cuda" else time.process_time

    def draw(inputs: list[Tensor]) -> SplatResult:
        means, quats, scales, opacities, colors, viewmats, backgrounds = inputs
        return splat(means, quats, scales, opacities, colors, viewmats, K, size, size, backgrounds=backgrounds,
                     backend=backend)  # fmt: skip

    def forward() -> None:
        with torch.no_grad():
            draw([*scene, background])
        if device == "cuda":
            torch.cuda.synchronize()

    leaves = [x.clone().requires_grad_() for x in (*scene, background)]
    weight = torch.rand(1, size, size, channels, device=device)

    def forward_backward() -> None:
        for leaf in leaves:
            leaf.grad = None
        result = draw(leaves)
        torch.autograd.backward([result.image, result.alpha], [weight, weight[..., :1]])
        if device == "cuda":
            torch.cuda.synchronize()

    return best_ms(forward, n_runs, clock), best_ms(forward_backward, n_runs, clock)


def run_table(quick: bool, device: str) -> dict[str, object]:
    """Measure every row of the table and the geometric means."""
    fast: Backend = "gsplat" if device == "cuda" else "cpu"
    rows = []
    for n in COUNTS:
        for size in SIZES_PX:
            for channels in CHANNELS:
                if quick and (n > 20_000 or size > 128):
                    continue
                n_runs = 4 if quick else 12
                twin = measure("torch", n, size, channels, n_runs, device)
                ours = measure(fast, n, size, channels, n_runs, device)
                row = {"n": n, "size_px": size, "channels": channels, "twin_fwd_ms": twin[0],
                       "twin_fwdbwd_ms": twin[1], "fwd_ms": ours[0], "fwdbwd_ms": ours[1],
                       "fwd_ratio": twin[0] / ours[0], "fwdbwd_ratio": twin[1] / ours[1]}  # fmt: skip
                rows.append(row)
                write(f"{n:>6} {size:>4} {channels:>2}  twin {twin[0]:7.1f} {twin[1]:7.1f}  {fast} {ours[0]:7.2f} "
                      f"{ours[1]:7.2f} ms   ratio {row['fwd_ratio']:5.1f} {row['fwdbwd_ratio']:5.1f}")  # fmt: skip
    means = {
        f"{k}_geomean": math.exp(sum(math.log(r[k]) for r in rows) / len(rows)) for k in ("fwd_ratio", "fwdbwd_ratio")
    }
    clock = "process CPU time, minimum of several" if device == "cpu" else "wall, synchronised, minimum of several"
    return {**means, **machine_record(seeds=[SEED]), "backend": fast, "clock": clock, "rows": rows}


def main() -> None:
    """Run the table."""
    parser = arguments(__doc__)
    parser.add_argument("--quick", action="store_true", help="small scenes and few runs")
    options = parser.parse_args()
    torch.set_num_threads(1)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cpu":
        write("no CUDA device here: the gsplat backend is not measured")
    finish(run_table(options.quick, device), options)


if __name__ == "__main__":
    main()
