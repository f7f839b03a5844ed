"""Rigged Gaussian fits of synthetic people, scored on views and expressions they were not fitted to.

    python benchmarks/avatar.py --json --out benchmarks/results/avatar.json
    python benchmarks/avatar.py --short 4 --long 4 --iterations 500 --json

People are drawn from the builtin generator until there are enough with bald or short and with long hair; cameras and
parameters are exact. Times are process CPU times of one thread; compare only the decibels between machines.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.record import arguments, finish, machine_record
from headforge.avatar.config import FitConfig
from headforge.avatar.fit import (
    exact_poses,
    fit_views,
    initial_gaussians,
    is_heldout,
    mean_identity,
    predict,
    sample_view,
)
from headforge.flame.builtin.head import builtin_head
from headforge.flame.model import HeadModel
from headforge.synth.config import SynthesizeConfig
from headforge.synth.synthesize import synthesize_subject
from headforge.types import Sample

SHORT_HAIR, LONG_HAIR = ("bald", "short"), ("long",)
MAX_SUBJECTS = 200


def people(kinds: Sequence[str], n: int) -> Iterator[list[Sample]]:
    """Return the first n people of the default dataset with one of these kinds of hair, with all their views."""
    for subject in range(MAX_SUBJECTS):
        if n == 0:
            return
        first = synthesize_subject(SynthesizeConfig(n_subjects=MAX_SUBJECTS, views_per_subject=4), subject)[0]
        if first and first[0].attributes["hair"] in kinds:
            yield synthesize_subject(SynthesizeConfig(n_subjects=MAX_SUBJECTS), subject)[0]
            n -= 1


def fit_person(config: FitConfig, head: HeadModel, samples: Sequence[Sample]) -> dict[str, object]:
    """Return the PSNR on the held-out views before and after the fit, and the fit's cost."""
    poses = exact_poses(samples)
    training = [s for s in samples if not is_heldout(s.view, config.heldout_every)]
    heldout = [s for s in samples if is_heldout(s.view, config.heldout_every)]
    views = [sample_view(head, s, poses[s.view], config.image_size) for s in training]
    params = mean_identity([s.params for s in training])
    clock = time.process_time()
    start = initial_gaussians(config, head, views, params, samples[0].subject_id)
    start_s = time.process_time() - clock
    fitted = fit_views(config, head, views, params, samples[0].subject_id)
    total_s = time.process_time() - clock
    scores = {}
    for name, rigged in (("start", start), ("fitted", fitted)):
        images = [predict(rigged, head, s, poses[s.view], config, name).image for s in heldout]
        scores[name] = float(np.mean([psnr_db(i, s.image) for i, s in zip(images, heldout, strict=True)]))
    return {
        "subject": samples[0].subject_id,
        "hair": samples[0].attributes["hair_style"],
        "n_gaussians": len(fitted),
        "start_psnr_db": scores["start"],
        "psnr_db": scores["fitted"],
        "start_cpu_s": start_s,
        "ms_per_iteration": 1e3 * (total_s - 2 * start_s) / max(config.n_iterations, 1),
    }


def psnr_db(image: np.ndarray, truth: np.ndarray) -> float:
    """Return the PSNR of uint8 pictures over the whole image."""
    error = np.mean((image.astype(float) - truth.astype(float)) ** 2) / 255**2
    return float(-10 * np.log10(max(error, 1e-12)))


def main() -> None:
    """Run from the command line."""
    parser = arguments(__doc__ or "")
    parser.add_argument("--short", type=int, default=4, help="people with bald heads or short hair")
    parser.add_argument("--long", type=int, default=2, help="people with long hair")
    parser.add_argument("--iterations", type=int, default=FitConfig.n_iterations)
    args = parser.parse_args()
    config = FitConfig(n_iterations=args.iterations)
    head = builtin_head()
    groups = {"short_hair": (SHORT_HAIR, args.short), "long_hair": (LONG_HAIR, args.long)}
    result: dict[str, object] = {"machine": machine_record(config.seed), "iterations": config.n_iterations}
    for name, (kinds, n) in groups.items():
        rows = [fit_person(config, head, samples) for samples in people(kinds, n)]
        result[name] = {
            "psnr_db": float(np.mean([float(str(row["psnr_db"])) for row in rows])) if rows else None,
            "ms_per_iteration": float(np.median([float(str(row["ms_per_iteration"])) for row in rows]))
            if rows
            else None,
            "people": rows,
        }
    finish(result, args)


if __name__ == "__main__":
    main()
