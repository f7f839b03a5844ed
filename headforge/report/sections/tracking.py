"""Tracking: the fitted head over the pictures it was fitted to, residuals, and errors against the ground truth."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from headforge.flame.model import HeadModel
from headforge.geometry.rotations import axis_angle_to_matrix
from headforge.report import pictures as draw
from headforge.report import plots
from headforge.report.blocks import Block, Chart, Charts, Grid, GridRow, Note, Picture, Section, Table
from headforge.report.inputs import Run
from headforge.report.sections.dataset import spread
from headforge.store.dataset.shards import Dataset
from headforge.types import Camera, HeadParams, Sample, Track

OVERLAY_SIZE = 256
"""Side of the overlays in pixels: the pictures are enlarged so that dots and mesh can be seen."""


def tracking_section(run: Run, n_overlays: int, n_compared: int) -> Section:
    """Return overlays of `n_overlays` held-out views, residuals, and errors over `n_compared` views."""
    title = "Tracking"
    lead = "Head parameters and cameras found again from noisy landmarks, never from the generator's own values."
    if not run.tracks or run.dataset is None or run.head is None:
        return Section("tracking", title, lead, (Note("This run has no tracks of a dataset.", "missing"),))
    blocks: list[Block] = []
    overlays = overlay_grid(run, run.dataset, run.head, n_overlays)
    if overlays.rows:
        blocks.append(overlays)
    pairs = compared_pairs(run, run.dataset, n_compared)
    errors = tracking_errors(run.head, pairs)
    blocks.append(Charts(_charts(list(run.tracks.values()), errors)))
    if errors:
        blocks.append(error_table(errors, len(pairs)))
    blocks.append(_rejected(list(run.tracks.values())))
    return Section("tracking", title, lead, tuple(blocks))


def overlay_grid(run: Run, dataset: Dataset, head: HeadModel, n_rows: int) -> Grid:
    """Return picture, landmarks (exact and tracked) and meshes, a row per subject."""
    rows = []
    for number, subject in enumerate(spread(dataset.subject_ids("test") or dataset.subject_ids(), n_rows)):
        samples = [s for s in dataset.samples(subject) if _ok(run.tracks.get((s.subject_id, s.view)))]
        if samples:
            sample = sorted(samples, key=lambda s: s.yaw_deg)[(number * 7 + 3) % len(samples)]
            rows.append(_overlay_row(head, sample, run.tracks[sample.subject_id, sample.view]))
    caption = "Dots: exact landmarks white, tracked landmarks orange. Meshes: tracked, and the generator's own."
    return Grid(("picture", "landmarks", "tracked mesh", "exact mesh"), tuple(rows), caption)


@dataclass(frozen=True)
class Exact:
    """The generator's exact values of a view, unbatched."""

    params: HeadParams
    camera: Camera


def compared_pairs(run: Run, dataset: Dataset, n: int) -> list[tuple[Exact, Track]]:
    """Return up to `n` views with a track, spread over the held-out subjects."""
    views = dataset.parameters()
    held_out = set(dataset.subject_ids("test") or dataset.subject_ids())
    rows = [row for key, row in views.rows.items() if key[0] in held_out and _ok(run.tracks.get(key))]
    chosen = spread(rows, n)
    keys = [(views.subject_ids[row], int(views.views[row])) for row in chosen]
    return [
        (Exact(views.params[row], views.camera[row]), run.tracks[key]) for row, key in zip(chosen, keys, strict=True)
    ]


def tracking_errors(head: HeadModel, pairs: Sequence[tuple[Exact, Track]]) -> dict[str, np.ndarray]:
    """Return errors of tracks against exact values, one array over the pairs per error; empty without pairs."""
    if not pairs:
        return {}
    face = head.regions.get("face", torch.arange(head.n_vertices))
    return {
        "face vertices in the picture (px)": np.array(
            [draw.vertex_shift_px(head, (t.params, t.camera), (s.params, s.camera), face) for s, t in pairs]
        ),
        "head direction (°)": np.array([_direction_error_deg(s, t) for s, t in pairs]),
        "jaw (°)": np.array([math.degrees(float((s.params.jaw - t.params.jaw).norm())) for s, t in pairs]),
        "expression (RMS of coefficients)": np.array(
            [float((s.params.expr - t.params.expr).square().mean().sqrt()) for s, t in pairs]
        ),
        "identity (RMS of coefficients)": np.array(
            [float((s.params.shape - t.params.shape).square().mean().sqrt()) for s, t in pairs]
        ),
    }


def error_table(errors: dict[str, np.ndarray], n: int) -> Table:
    """Return median, 95th percentile and maximum of each error."""
    rows = tuple(
        (name, *(f"{q:.2f}" for q in np.quantile(values, (0.5, 0.95, 1.0))), str(n)) for name, values in errors.items()
    )
    return Table(("tracked against exact", "median", "95 %", "worst", "views"), rows, "Errors on held-out subjects")


def _overlay_row(head: HeadModel, sample: Sample, track: Track) -> GridRow:
    image = draw.enlarge(sample.image, OVERLAY_SIZE)
    height, width = image.shape[:2]
    exact = draw.projected_landmarks(head, sample.params, sample.camera, width, height)
    tracked = draw.projected_landmarks(head, track.params, track.camera, width, height)
    dots = draw.dots_overlay(image, [(exact, draw.EXACT_RGB), (tracked, draw.TRACKED_RGB)])
    name = f"{sample.subject_id} · {sample.view}"
    cells = (
        Picture(image, f"picture {name}", lossless=False),
        Picture(dots, f"landmarks {name}", f"residual {track.residual_px:.2f} px", lossless=False),
        Picture(draw.mesh_overlay(image, head, track.params, track.camera), f"tracked mesh {name}", lossless=False),
        Picture(draw.mesh_overlay(image, head, sample.params, sample.camera), f"exact mesh {name}", lossless=False),
    )
    return GridRow(f"{name}\n{sample.yaw_deg:+.0f}°", cells)


def _charts(tracks: list[Track], errors: dict[str, np.ndarray]) -> tuple[Chart, ...]:
    residuals = [t.residual_px for t in tracks if _ok(t)]
    charts = [Chart(plots.histogram({"ok": residuals}, "landmark residual (px, RMS)", "views"), "Residuals")]
    for name in list(errors)[:2]:
        charts.append(
            Chart(plots.histogram({"tracked": errors[name].tolist()}, name, "views"), "Tracked against exact")
        )
    return tuple(charts)


def _direction_error_deg(exact: Exact, track: Track) -> float:
    """Return the angle between the two directions from the head to its camera, seen in the head's own axes."""
    directions = []
    for params, camera in ((exact.params, exact.camera), (track.params, track.camera)):
        offset = camera.centre - params.translation
        directions.append(axis_angle_to_matrix(params.rotation).T @ (offset / offset.norm()))
    return math.degrees(math.acos(min(1.0, float(directions[0] @ directions[1]))))


def _rejected(tracks: list[Track]) -> Note:
    rejected = [t for t in tracks if not _ok(t)]
    if not rejected:
        return Note(f"All {len(tracks)} views were tracked; none was rejected.")
    reasons = sorted({t.reason for t in rejected})
    return Note(f"{len(rejected)} of {len(tracks)} views were rejected: {'; '.join(reasons[:5])}.", "warning")


def _ok(track: Track | None) -> bool:
    return track is not None and track.status == "ok"
