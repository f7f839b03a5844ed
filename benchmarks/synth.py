"""Throughput of the builtin generator, one core: from subjects to a written shard, with a profile by part.

    python benchmarks/synth.py [--json] [--out benchmarks/results/synth.json] [--seconds 12]

Both appearances at 128, 256 and 512 px with 2 x 2 supersampling; preparing the subjects, cameras, labels, PNG and the
shard's write are all counted, loading the head model and compiling the kernels are not. Subjects have
`VIEWS_PER_SUBJECT` views. Process CPU time; the keys views_per_s_core_SIZE are the rich appearance's.
"""

from __future__ import annotations

import cProfile
import pstats
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.record import arguments, finish, machine_record, write
from headforge.synth.config import SynthesizeConfig
from headforge.synth.synthesize import synthesize_shard

SIZES_PX = (128, 256, 512)
VIEWS_PER_SUBJECT = 60
SEED = 0
SETTINGS: Mapping[str, Mapping[str, object]] = {
    "basic": {},
    "rich": {"appearance": "rich", "domain": "both", "glasses": True, "background": "surroundings"},
}
PARTS: Mapping[str, tuple[str, ...]] = {
    "prepare a subject": ("sample_traits", "prepare_subject", "prepare_rich"),
    "pose and normals": ("_pose", "pose_head", "_vertex_normals"),
    "nearest triangles": ("nearest_faces", "rasterize"),
    "shade surfaces": ("_shade", "shade_skin", "skin_points"),
    "hair": ("_draw_hair",),
    "lenses": ("_draw_lenses",),
    "background": ("draw_background",),
    "average down": ("average_down", "average_over_white"),
    "camera, expression, gates": ("view_angles", "view_camera", "view_params", "check_picture"),
    "PNG": ("encode_png",),
    "shard": ("write_shard",),
}
"""Functions by part of the work; the outermost one on a call's stack counts, the shard with its own time only."""


def config(appearance: str, size: int) -> SynthesizeConfig:
    """Return the settings of one row of the table."""
    return SynthesizeConfig(
        seed=SEED, image_size=size, views_per_subject=VIEWS_PER_SUBJECT, **SETTINGS[appearance]  # type: ignore[arg-type]
    )  # fmt: skip


def measure(appearance: str, size: int, seconds: float) -> dict[str, float | int | str]:
    """Return views per second over the subjects that fit in about `seconds`; at least 4, so that hair is mixed."""
    settings = config(appearance, size)
    n_views = n_subjects = 0
    spent = 0.0
    while spent < seconds or n_subjects < 4:
        with tempfile.TemporaryDirectory() as folder:
            start = time.process_time()
            info = synthesize_shard(settings, [n_subjects], Path(folder))
            spent += time.process_time() - start
        n_views, n_subjects = n_views + info.n_rows, n_subjects + 1
    return {"appearance": appearance, "size_px": size, "n_subjects": n_subjects, "n_views": n_views,
            "views_per_s_core": n_views / spent, "ms_per_view": 1e3 * spent / n_views}  # fmt: skip


def breakdown(appearance: str, size: int, n_subjects: int = 2) -> dict[str, float]:
    """Return the share of time by part, from a separate profile (profiling overstates small calls)."""
    profile = cProfile.Profile(time.process_time)
    with tempfile.TemporaryDirectory() as folder:
        profile.enable()
        synthesize_shard(config(appearance, size), range(n_subjects), Path(folder))
        profile.disable()
    stats = pstats.Stats(profile).stats  # type: ignore[attr-defined]
    total = sum(own for _, _, own, _, _ in stats.values())
    seconds = dict.fromkeys(PARTS, 0.0)
    for (_, _, name), (_, _, own, cumulative, callers) in stats.items():
        for part, functions in PARTS.items():
            if name in functions and not any(caller[2] in functions for caller in callers):
                seconds[part] += own if part == "shard" else cumulative
    shares = {part: value / total for part, value in seconds.items()}
    return {**shares, "rest": max(1 - sum(shares.values()), 0.0)}


def main() -> None:
    """Run the table."""
    parser = arguments(__doc__)
    parser.add_argument("--seconds", type=float, default=12.0, help="CPU seconds per row")
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows = []
    for appearance in SETTINGS:
        with tempfile.TemporaryDirectory() as folder:
            synthesize_shard(config(appearance, 64), [0], Path(folder))
        for size in SIZES_PX:
            row = measure(appearance, size, options.seconds)
            rows.append(row)
            write("  ".join(f"{k} {v:.3f}" if isinstance(v, float) else f"{k} {v}" for k, v in row.items()))
    shares = {f"{appearance}_{size}": breakdown(appearance, size) for appearance in SETTINGS for size in (256, 512)}
    for name, parts in shares.items():
        write(f"{name:>12}  " + "  ".join(f"{part} {share:.1%}" for part, share in parts.items() if share >= 0.005))
    speeds = {(row["appearance"], row["size_px"]): row["views_per_s_core"] for row in rows}
    result = {**{f"views_per_s_core_{size}": speeds["rich", size] for size in SIZES_PX},
              **{f"basic_views_per_s_core_{size}": speeds["basic", size] for size in SIZES_PX},
              **machine_record(seeds=[SEED]), "clock": "process CPU time", "views_per_subject": VIEWS_PER_SUBJECT,
              "supersampling": "2x2", "time_shares": shares, "rows": rows}  # fmt: skip
    finish(result, options)


if __name__ == "__main__":
    main()
