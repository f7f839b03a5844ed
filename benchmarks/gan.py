"""Speed and memory of SphereHead and PanoHead: views of a person from one backbone pass, against one pass per view.

    python -m benchmarks.gan [--kind spherehead] [--small] [--device cpu|cuda] [--batches 1 8 32] [--json]

The networks have the size of the published checkpoints (512 pixels, rendered at 64) and random weights: time does not
depend on them. Each part is timed on its own, the minimum of `--runs` after one to warm up; on the CPU as processor
time, with one thread unless OMP_NUM_THREADS says otherwise. On a GPU half precision is measured too, with its
difference from single precision.
"""

from __future__ import annotations

import argparse
import resource
import sys
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from benchmarks.gan_parity import official_arguments
from benchmarks.record import arguments, best_ms, finish, machine_record, write
from headforge.priors.gan.cameras import frontal_label, gan_camera
from headforge.priors.gan.model import GanViews, HeadGan
from headforge.priors.gan.renderer import Jitter, draw_jitter
from headforge.priors.gan.settings import KINDS, read_settings
from headforge.types import Camera

SEED = 0
YAW_STEP_DEG = 11.0
VIEWS_PER_SUBJECT = 60
"""As in Learn2Control's dataset."""


def random_gan(kind: str, full: bool, device: str) -> HeadGan:
    """Return a generator of the published size with random weights."""
    torch.manual_seed(SEED)
    kwargs: dict[str, Any] = official_arguments(full)
    rendering = kwargs.pop("rendering_kwargs")
    size = 64 if full else 32
    facts = {"init_kwargs": kwargs, "rendering_kwargs": rendering, "neural_rendering_resolution": size}
    return HeadGan(read_settings(kind, facts)).eval().requires_grad_(False).to(device)


class Subject:
    """One person's styles and the results computed from them."""

    def __init__(self, model: HeadGan, device: str, half: bool = False) -> None:
        self.model, self.device, self.half = model, device, half
        label = frontal_label(model.settings.camera_radius, model.settings.camera_pivot).to(device)
        z = torch.randn(1, model.settings.z_dim, generator=torch.Generator().manual_seed(SEED)).to(device)
        self.ws = model.styles(z, label)

    def planes(self) -> tuple[Tensor, Tensor | None]:
        """Compute the planes, which all views share."""
        return self.model.planes(self.ws, self.half), self.model.background(self.ws)

    def views(self, planes: Tensor, background: Tensor | None, n_views: int) -> GanViews:
        """Render a batch of views."""
        settings = self.model.settings
        size = settings.render_size
        camera = Camera.stack([gan_camera(YAW_STEP_DEG * i, 0.0, size, settings.camera_radius) for i in range(n_views)])
        camera = Camera(camera.K.to(self.device), camera.viewmat.to(self.device), size, size)
        drawn = [draw_jitter(SEED, 0, i, size * size, settings.rays) for i in range(n_views)]
        jitters = [Jitter(one.coarse.to(self.device), one.fine.to(self.device)) for one in drawn]
        return self.model.render(planes, self.ws, camera, jitters, background, self.half)


def measure(subject: Subject, n_views: int, n_runs: int) -> dict[str, float]:
    """Measure the seconds of the shared part, of a batch of views and of a whole subject."""

    def timed(run: Callable[[], object]) -> float:
        def waited() -> None:
            run()
            if subject.device == "cuda":
                torch.cuda.synchronize()

        clock = time.perf_counter if subject.device == "cuda" else time.process_time
        return best_ms(waited, n_runs, clock) / 1e3

    planes, background = subject.planes()
    shared_s = timed(subject.planes)
    batch_s = timed(lambda: subject.views(planes, background, n_views))
    view_s = batch_s / n_views
    alone_s = shared_s + view_s
    shared_rate = VIEWS_PER_SUBJECT / (shared_s + VIEWS_PER_SUBJECT * view_s)
    return {
        "batch": n_views, "half": subject.half, "shared_s": shared_s, "view_s": view_s, "views_per_s": shared_rate,
        "views_per_s_one_pass_a_view": 1 / alone_s, "ratio": shared_rate * alone_s,
    }  # fmt: skip


def half_difference(model: HeadGan, device: str) -> dict[str, float]:
    """Return the error of half precision in picture and mask, as a fraction of the picture's range."""
    found = []
    for half in (False, True):
        subject = Subject(model, device, half)
        found.append(subject.views(*subject.planes(), 1))
    single, double = found
    span = float(single.image.max() - single.image.min())
    change = (single.image - double.image).abs()
    return {"max": float(change.max()) / span, "mean": float(change.mean()) / span}


def main(argv: list[str] | None = None) -> int:
    """Measure and print."""
    parser = arguments(__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--kind", choices=KINDS, default=KINDS[0])
    parser.add_argument("--small", action="store_true", help="small networks at 128 pixels")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--batches", type=int, nargs="+", default=[1], help="views at a time")
    parser.add_argument("--runs", type=int, default=2)
    options = parser.parse_args(argv)
    if options.device == "cuda" and not torch.cuda.is_available():
        parser.error("torch finds no CUDA device")
    model = random_gan(options.kind, not options.small, options.device)
    precisions = (False, True) if options.device == "cuda" else (False,)
    with torch.no_grad():
        rows = [
            measure(Subject(model, options.device, half), batch, options.runs)
            for half in precisions
            for batch in options.batches
        ]
        moved = half_difference(model, options.device) if options.device == "cuda" else None
    for row in rows:
        write("  ".join(f"{name} {value:.4g}" for name, value in row.items()))
    result = {
        **machine_record([SEED]), "kind": options.kind, "device": options.device, "size": model.settings.image_size,
        "n_parameters": sum(p.numel() for p in model.parameters()), "views_per_subject": VIEWS_PER_SUBJECT,
        "peak_memory_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        "peak_card_memory_bytes": torch.cuda.max_memory_allocated() if options.device == "cuda" else None,
        "half_precision_difference": moved, "measured": rows,
    }  # fmt: skip
    finish(result, options)
    return 0


if __name__ == "__main__":
    sys.exit(main())
