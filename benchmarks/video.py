"""Video tracking: tracked frames, residual, jitter and speed.

    python benchmarks/video.py --video FILE [--json] [--out benchmarks/results/video.json] [--overlay FOLDER]

`residual_pct`: mean distance over the landmarks in per cent of the outer-eye distance, mean over the tracked frames.
`jitter_ratio`: root mean square of the second difference of the head's turn (degrees) or place (millimetres), the worse
of the two, over that of the same landmarks fitted frame by frame: same head model, weights, priors and focal length,
each frame with a shape of its own (`independent_*`). `unsmoothed_*` is the joint fit without smoothness. Landmarks are
the same in all three. `frames_per_s`: everything after detection (fit, tables, overlay film) on one thread;
`fit_frames_per_s`: the fit alone. Times are process CPU times.
"""

from __future__ import annotations

import dataclasses
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.record import arguments, finish, machine_record
from headforge.flame.builtin.head import builtin_head
from headforge.flame.files import head_digest
from headforge.flame.model import HeadModel
from headforge.priors.faces.dlib_faces import DlibFaces
from headforge.store.files import sha256_file
from headforge.store.video import open_video
from headforge.track.video.config import VideoConfig
from headforge.track.video.detect import FilmLandmarks, detect_film
from headforge.track.video.fit import FilmFit, film_settings, fit_landmarks, frame_residuals, solve_rows
from headforge.track.video.pose import moving_head, second_differences
from headforge.track.video.video import track_landmarks
from headforge.types import HeadParams

LOOSE = 1e6
"""Factor on the smoothness prior's widths that disables it."""


def jitter(found: FilmFit) -> tuple[float, float]:
    """Return the RMS second difference of turn (degrees) and position (millimetres)."""
    turn, place = second_differences(found.params, found.rows)
    return float(np.sqrt(np.mean(turn**2))), float(np.sqrt(np.mean(place**2)))


def residual_pct(found: FilmFit) -> float:
    """Return the mean residual over the tracked frames."""
    return 100 * float(np.mean(found.residual_eyes[found.rows]))


def unsmoothed(config: VideoConfig) -> VideoConfig:
    """Return the same settings with smoothness disabled."""
    names = ("smooth_turn_deg", "smooth_move_mm", "smooth_jaw_deg", "smooth_expr")
    return dataclasses.replace(config, **{name: LOOSE * getattr(config, name) for name in names})


def fitted_alone(config: VideoConfig, head: HeadModel, seen: FilmLandmarks, joint: FilmFit) -> FilmFit:
    """Fit every tracked frame on its own, with the focal length of the joint fit."""
    params, residuals = [], joint.residual_eyes.copy()
    for row in joint.rows:
        settings = film_settings(config, seen.points[[row]])
        known = dataclasses.replace(settings, focal_px=float(joint.camera.K[0, 0]), focal_known=True)
        solved = solve_rows(config, head, seen, np.array([row]), 25.0, known)
        params.append(moving_head(head, solved.problem.basis, solved.fit.state, joint.camera)[0])
        residuals[row] = frame_residuals(solved, seen)[0][0]
    stacked = HeadParams.stack(params)
    whole = joint.params.tensors()
    for name, values in stacked.tensors().items():
        whole[name] = whole[name].clone()
        whole[name][torch.from_numpy(joint.rows)] = values
    return dataclasses.replace(joint, params=HeadParams(head.model_id, **whole), residual_eyes=residuals)


def main() -> None:
    """Track the film three ways and print the comparison."""
    parser = arguments(__doc__)
    parser.add_argument("--video", type=Path, required=True, help="a film of one person")
    parser.add_argument("--overlay", type=Path, help="keep the tracks and the overlay film in this folder")
    options = parser.parse_args()
    torch.set_num_threads(1)
    config, head = VideoConfig(), builtin_head()
    film = open_video(options.video, config.max_side)
    start = time.process_time()
    seen = detect_film(film.frames(), DlibFaces(), "film")
    detection_s = time.process_time() - start
    fit_landmarks(config, head, seen, film.fps)
    start = time.process_time()
    found = fit_landmarks(config, head, seen, film.fps)
    fit_s = time.process_time() - start
    with tempfile.TemporaryDirectory() as folder:
        start = time.process_time()
        track_landmarks(config, film, seen, "film", head, options.overlay or Path(folder))
        all_s = time.process_time() - start
    loose = fit_landmarks(unsmoothed(config), head, seen, film.fps)
    assert found is not None and loose is not None
    alone = fitted_alone(config, head, seen, found)
    n_frames = len(seen.how)
    result: dict[str, object] = {
        "share_tracked": len(found.rows) / n_frames,
        "residual_pct": residual_pct(found),
        "jitter_ratio": max(a / b for a, b in zip(jitter(found), jitter(alone), strict=True)),
        "frames_per_s": n_frames / all_s,
        "fit_frames_per_s": n_frames / fit_s,
        "detection_frames_per_s": n_frames / detection_s,
        "n_frames": n_frames,
        "n_detected": sum(how == "detected" for how in seen.how),
    }
    for name, fit in (("", found), ("independent_", alone), ("unsmoothed_", loose)):
        turn, place = jitter(fit)
        result |= {f"{name}jitter_turn_deg": turn, f"{name}jitter_move_mm": place}
        result[f"{name}residual_pct"] = residual_pct(fit)
    result |= {
        "video_sha256": sha256_file(options.video),
        "head_model": head.model_id,
        "head_digest": head_digest(head),
    }
    finish(result | machine_record(seeds=[]), options)


if __name__ == "__main__":
    main()
