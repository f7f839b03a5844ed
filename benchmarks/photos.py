"""Single pictures: residuals of the head model's fit to dlib's 68 points, and dlib's detection rate.

    python benchmarks/photos.py [--json] [--out FILE] [--head FILE] [--photos DIR] [--renders N]

Photos: the pictures of DIR and scikit-image's astronaut, fitted as the stage `track` does with its default settings;
`mean_residual_pct` is the mean distance over the 68 points in per cent of the outer-eye distance, averaged over the
photos, `max_abs_coefficient` the largest shape or expression coefficient in standard deviations, `n_mirrored` the fits
whose head is inverted or turned to the other side than the landmarks say. Renders: N builtin heads of the appearance
`basic` at 256 px, azimuth within 30 degrees, elevation within 15; `found_pct` is the share of faces that dlib finds,
`yaw_error_deg` the mean error of the fitted azimuth over those. Needs the extra `photos`.
"""

from __future__ import annotations

import math
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.record import arguments, finish, machine_record, write
from headforge.errors import Rejected
from headforge.flame.builtin.head import builtin_head
from headforge.flame.files import head_digest, load_head
from headforge.flame.model import HeadModel
from headforge.geometry.cameras import yaw_pitch_deg
from headforge.priors.faces.dlib_faces import DlibFaces
from headforge.store.images import read_photo
from headforge.synth.builtin.subject import prepare_subject, render_view
from headforge.synth.config import SynthesizeConfig
from headforge.synth.shots.samplers import item_rng, view_camera, view_params
from headforge.track.config import TrackConfig
from headforge.track.observe import FaceDetector
from headforge.track.photo.photo import LARGEST_FACE, PhotoTrack, fit_photo

YAW_MAX_DEG, PITCH_MAX_DEG = 30.0, 15.0
RENDER_SIZE_PX = 256
SEED = 7


@dataclass(frozen=True)
class PhotoRow:
    """One photo's fit."""

    name: str
    residual_pct: float
    """Mean over the 68 points, per cent of the outer-eye distance."""
    jaw_line_pct: float
    """Mean over the 17 points of the jaw line."""
    features_pct: float
    """Mean over the 51 other points."""
    yaw_deg: float
    pitch_deg: float
    max_abs_coefficient: float
    mirrored: bool


def photo_row(name: str, found: PhotoTrack) -> PhotoRow:
    """Return the figures of one fit."""
    distances = np.linalg.norm(found.fitted - found.observed, axis=-1)
    eyes = np.linalg.norm(found.observed[36] - found.observed[45])
    yaw, pitch = yaw_pitch_deg(found.track.camera)
    params = found.track.params
    coefficients = torch.cat([params.shape, params.expr])
    return PhotoRow(
        name,
        100 * float(distances.mean() / eyes),
        100 * float(distances[:17].mean() / eyes),
        100 * float(distances[17:].mean() / eyes),
        float(yaw),
        float(pitch),
        float(coefficients.abs().max()),
        is_mirrored(found),
    )


def is_mirrored(found: PhotoTrack) -> bool:
    """Return whether the head is upside down, reflected, or turned away from the side the nose points to."""
    view = found.track.camera.viewmat[:3, :3]
    upright = float(view[1, 1]) < 0 and float(torch.linalg.det(view)) > 0
    points = found.observed
    nose = points[30, 0] - 0.5 * (points[36, 0] + points[45, 0])
    side = nose / abs(points[45, 0] - points[36, 0])
    yaw = float(yaw_pitch_deg(found.track.camera)[0])
    # A camera on the subject's left sees the nose to the left of the eyes' middle.
    return not upright or bool(abs(side) > 0.1 and math.copysign(1, side) == math.copysign(1, yaw))


def fit_photos(head: HeadModel, folder: Path | None, faces: FaceDetector) -> list[PhotoRow]:
    """Fit the largest face of each picture of `folder` and of the astronaut."""
    from skimage import data

    pictures = {path.stem: read_photo(path) for path in sorted(folder.glob("*.jpg"))} if folder else {}
    pictures["astronaut"] = np.asarray(data.astronaut())
    rows = [
        photo_row(name, fit_photo(TrackConfig(), picture, name, head, faces, LARGEST_FACE))
        for name, picture in pictures.items()
    ]
    for row in rows:
        write("  ".join(f"{v:6.2f}" if isinstance(v, float) else f"{v!s:24}" for v in asdict(row).values()))
    return rows


def detect_renders(n_renders: int, faces: FaceDetector) -> dict[str, float]:
    """Measure detection rate and yaw error on pictures of the builtin generator."""
    config = SynthesizeConfig(seed=SEED, image_size=RENDER_SIZE_PX)
    head = builtin_head()
    errors = []
    for number in range(n_renders):
        rng = item_rng(SEED, "photo benchmark", number)
        yaw, pitch = rng.uniform(-YAW_MAX_DEG, YAW_MAX_DEG), rng.uniform(-PITCH_MAX_DEG, PITCH_MAX_DEG)
        subject = prepare_subject(SEED, number, config.long_hair_share)
        params = view_params(config, head, subject.person.shape, number, 0)
        camera = view_camera(config, yaw, pitch, RENDER_SIZE_PX)
        image, _ = render_view(subject, params, camera)
        try:
            found = fit_photo(TrackConfig(), image, str(number), head, faces, LARGEST_FACE)
        except Rejected as error:
            write(f"render {number}: yaw {yaw:.0f}, pitch {pitch:.0f}: {error.reason}")
            continue
        exact = float(yaw_pitch_deg(camera)[0])
        errors.append(float(yaw_pitch_deg(found.track.camera)[0]) - exact)
    errors_deg = np.array(errors)
    return {
        "n_renders": n_renders,
        "found_pct": 100 * len(errors) / n_renders,
        "yaw_error_deg": float(np.abs(errors_deg).mean()),
        "yaw_error_p95_deg": float(np.quantile(np.abs(errors_deg), 0.95)),
        "yaw_bias_deg": float(errors_deg.mean()),
    }


def main() -> None:
    """Run everything and print it as a table, with --json also as one JSON object in the last line."""
    parser = arguments(__doc__)
    parser.add_argument("--head", type=Path, help="head model (.safetensors); the builtin one by default")
    parser.add_argument("--photos", type=Path, help="folder of JPEG pictures with one person each")
    parser.add_argument("--renders", type=int, default=60, help="builtin heads to draw; 0 leaves them out")
    options = parser.parse_args()
    torch.set_num_threads(1)
    head = builtin_head() if options.head is None else load_head(options.head)
    faces = DlibFaces()
    rows = fit_photos(head, options.photos, faces)
    result: dict[str, object] = {
        "n_photos": len(rows),
        "mean_residual_pct": sum(row.residual_pct for row in rows) / len(rows),
        "worst_residual_pct": max(row.residual_pct for row in rows),
        "max_abs_coefficient": max(row.max_abs_coefficient for row in rows),
        "n_mirrored": sum(row.mirrored for row in rows),
        "head_model": head.model_id,
        "head_digest": head_digest(head),
    }
    if options.renders:
        result |= detect_renders(options.renders, faces)
    result |= {"rows": [asdict(row) for row in rows]}
    finish(result | machine_record(seeds=SEED), options)


if __name__ == "__main__":
    main()
