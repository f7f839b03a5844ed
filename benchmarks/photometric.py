"""Photometric refinement of tracks: errors of vertices and pictures before and after.

    python benchmarks/photometric.py [--json] [--out benchmarks/results/photometric.json] [--subjects N]

People of the builtin generator, 12 views of 256 px each with an expression of its own, landmarks simulated as in the
demo (noise 0.2 % of the width, 5 % missing), one kind of appearance after the other. `landmarks_mm` and `refined_mm`
are errors of the face region's vertices after similarity alignment, before and after, with the default settings;
`n_nearer` counts the people whose error decreased. `landmarks_photo` is the mean absolute colour
difference (in [0, 1]) that texture and light alone reach in as many steps as the refinement has in all, with the
landmarks' geometry; `refined_photo` is the refinement's. Times are process CPU times on one thread.
"""

from __future__ import annotations

import dataclasses
import sys
import time
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.record import arguments, finish, machine_record, write
from headforge.flame.builtin.head import builtin_head
from headforge.flame.model import HeadModel
from headforge.synth.config import SynthesizeConfig
from headforge.synth.synthesize import synthesize_subject
from headforge.track.config import TrackConfig
from headforge.track.photometric.photometric import PhotometricSettings, Pictures, refine_subject
from headforge.track.quality import vertex_error_mm
from headforge.track.subject import SubjectViews, observe_subject, stage_basis, track_subject
from headforge.types import Camera, HeadParams, Sample

N_VIEWS, SIZE = 12, 256
APPEARANCES = ("basic", "rich")


def measure(head: HeadModel, samples: list[Sample]) -> dict[str, float]:
    """Return one person's errors before and after."""
    config = TrackConfig()
    camera, params = Camera.stack([s.camera for s in samples]), HeadParams.stack([s.params for s in samples])
    subject = SubjectViews(samples[0].subject_id, [s.view for s in samples], camera, params, [None] * len(samples))
    seen = observe_subject(config, subject, head, (), None)
    tracks, _ = track_subject(config, subject, head, stage_basis(head), seen)
    ok = [row for row, track in enumerate(tracks) if track.status == "ok"]
    start = HeadParams.stack([tracks[i].params for i in ok])
    cameras = Camera.stack([tracks[i].camera for i in ok])
    images, masks = (np.stack([getattr(samples[i], name) for i in ok]) for name in ("image", "mask"))
    pictures = Pictures(images, masks, seen.seen.points[ok], seen.seen.weights[ok])
    settings = PhotometricSettings()
    began = time.process_time()
    refined = refine_subject(head, start, cameras, pictures, settings)
    cpu_s = time.process_time() - began
    all_steps = settings.n_texture_steps + settings.n_joint_steps
    surface = dataclasses.replace(settings, n_texture_steps=all_steps, n_joint_steps=0)
    plain = refine_subject(head, start, cameras, pictures, surface)
    return {
        "n_views": len(ok),
        "landmarks_mm": vertex_error_mm(head, list(_rows(start)), params, ok),
        "refined_mm": vertex_error_mm(head, list(_rows(refined.params)), params, ok),
        "landmarks_photo": plain.photo_after,
        "refined_photo": refined.photo_after,
        "landmarks_focal_pct": 100 * abs(float(cameras.K[0, 0, 0] / camera.K[0, 0, 0] - 1)),
        "refined_focal_pct": 100 * abs(float(refined.camera.K[0, 0, 0] / camera.K[0, 0, 0] - 1)),
        "cpu_s": cpu_s,
    }


def _rows(params: HeadParams) -> list[HeadParams]:
    return [params[i] for i in range(len(params.expr))]


def main() -> None:
    """Measure and print."""
    parser = arguments(__doc__)
    parser.add_argument("--subjects", type=int, default=3)
    options = parser.parse_args()
    torch.set_num_threads(1)
    head = builtin_head()
    rows: list[dict[str, object]] = []
    result: dict[str, object] = {}
    for appearance in APPEARANCES:
        config = SynthesizeConfig(
            n_subjects=options.subjects, views_per_subject=N_VIEWS, image_size=SIZE, appearance=appearance
        )
        found = []
        for number in range(options.subjects):
            found.append(measure(head, _samples(config, number)))
            rows.append({"appearance": appearance, "subject": number, **found[-1]})
            write("  ".join([appearance, str(number), *(f"{name} {value:.4g}" for name, value in found[-1].items())]))
        result |= {f"{appearance}_{name}": sum(row[name] for row in found) / len(found) for name in found[0]}
        result[f"{appearance}_n_nearer"] = sum(row["refined_mm"] < row["landmarks_mm"] for row in found)
    result |= {"n_subjects": options.subjects, **machine_record(list(range(options.subjects))), "rows": rows}
    finish(result, options)


def _samples(config: SynthesizeConfig, number: int) -> list[Sample]:
    found = synthesize_subject(config, number)
    return list(found[0] if isinstance(found, tuple) else found)


if __name__ == "__main__":
    main()
