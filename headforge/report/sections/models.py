"""A trained model: inputs, outputs, ground truth and baselines."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from headforge.report import plots
from headforge.report.blocks import Block, Chart, Gallery, Grid, GridRow, Note, Picture, Section
from headforge.report.inputs import Run, read_picture
from headforge.report.pictures import psnr_db
from headforge.report.sections.dataset import spread
from headforge.store.dataset.shards import Dataset
from headforge.store.images import area_resize
from headforge.types import MethodOutput, Prediction

BASELINE_TITLES = {
    "copy": "copy",
    "mean": "mean picture",
    "reproject_tracked": "reprojection, tracked",
    "reproject_exact": "reprojection, exact",
}
"""Column titles of the baselines, in the order of the columns."""


def model_section(
    run: Run, model: MethodOutput, n_rows: int, control_maps: Mapping[tuple[str, int], np.ndarray]
) -> Section:
    """Return comparison grid and training curve. `control_maps` holds control pictures by (subject, view), if any."""
    lead = (
        "One reference picture of a person the model has never seen, head parameters of another view, and the picture "
        "it draws. Beside it, what copying or reprojecting the reference would give."
    )
    blocks: list[Block] = []
    folder = run.models.get(model)
    if run.dataset is not None and run.predictions:
        blocks.append(comparison_grid(run.dataset, run.predictions, model, n_rows, control_maps))
    else:
        blocks.append(Note("This run has no predictions of held-out views.", "missing"))
        sheet = None if folder is None else samples_picture(folder)
        if sheet is not None:
            blocks.append(Gallery((sheet,), "What the training stage drew when it was done.", "large"))
    if folder is not None:
        log = folder / "train_log.jsonl"
        charts = training_charts(read_log(log)) if log.is_file() else ()
        if charts:
            blocks.extend(charts)
    else:
        blocks.append(Note("This run has no trained model.", "missing"))
    return Section(anchor_of(model), model.title, lead, tuple(blocks))


def anchor_of(method: MethodOutput) -> str:
    """Return the anchor of a method's section."""
    return method.title.lower().replace(" ", "-")


def chosen_views(predictions: Sequence[Prediction], model: MethodOutput, n_rows: int) -> list[tuple[str, int]]:
    """Return (subject, view) of the rows: different subjects first, spread evenly, and different views of them.

    They are views that the model drew with tracked parameters, or with exact ones if there are none.
    """
    main = next((m for m in (model.tracked, model.exact) if any(p.method == m for p in predictions)), None)
    by_subject: dict[str, list[int]] = {}
    for p in predictions:
        if main is None or p.method == main:
            by_subject.setdefault(p.subject_id, []).append(p.view)
    subjects = spread(sorted(by_subject), n_rows)
    chosen = []
    for number, subject in enumerate(subjects):
        views = sorted(set(by_subject[subject]))
        chosen.append((subject, views[number % len(views)]))
    return chosen


def comparison_grid(
    dataset: Dataset,
    predictions: Sequence[Prediction],
    model: MethodOutput,
    n_rows: int,
    control_maps: Mapping[tuple[str, int], np.ndarray],
) -> Grid:
    """Return reference, control map, outputs and baselines with the ground truth, and PSNR over the whole picture."""
    found = {(p.subject_id, p.view, p.method): p for p in predictions}
    titles = {model.tracked: "output, tracked", model.exact: "output, exact", **BASELINE_TITLES}
    methods = [m for m in titles if any(p.method == m for p in predictions)]
    outputs = [m for m in methods if m in (model.tracked, model.exact)]
    baselines = [m for m in methods if m in BASELINE_TITLES and m != "mean"]
    with_maps = bool(control_maps)
    columns = ("reference", *(("control map",) if with_maps else ()), *(titles[m] for m in outputs), "truth")
    columns += tuple(titles[m] for m in baselines)
    rows = []
    for subject, view in chosen_views(predictions, model, n_rows):
        of_view = [found.get((subject, view, method)) for method in (*outputs, *baselines)]
        size = next(p.image.shape[0] for p in of_view if p is not None)
        truth = area_resize(dataset.sample(subject, view).image, size)
        cells = [_prediction_cell(p, truth, titles) for p in of_view]
        name = f"{subject} · {view}"
        maps = (_map_cell(control_maps.get((subject, view)), name),) if with_maps else ()
        reference = _reference_cell(dataset, subject, of_view, size)
        truth_cell = Picture(truth, f"truth {name}")
        rows.append(GridRow(name, (reference, *maps, *cells[: len(outputs)], truth_cell, *cells[len(outputs) :])))
    return Grid(columns, tuple(rows), "Held-out people. Numbers: PSNR over the whole picture, in dB.")


def read_log(path: Path) -> list[dict[str, float]]:
    """Return the numbers of a training log, one dict per line."""
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    return [{k: float(v) for k, v in line.items() if isinstance(v, int | float)} for line in lines]


def training_charts(log: Sequence[Mapping[str, float]]) -> tuple[Chart, ...]:
    """Return the loss over the images seen, smoothed, and the quality metrics in the log."""
    losses = [name for name in _names(log) if "loss" in name]
    qualities = [name for name in _names(log) if "psnr" in name]
    charts = []
    for names, label, log_y in ((losses, "loss", True), (qualities, "PSNR (dB)", False)):
        series = [_series(log, name, smooth=log_y) for name in names[:4]]
        series = [s for s in series if len(s.x) > 1]
        if series:
            charts.append(Chart(plots.line_chart(series, "images seen", label, log_y=log_y), f"Training: {label}"))
    return tuple(charts)


def _names(log: Sequence[Mapping[str, float]]) -> list[str]:
    return list(dict.fromkeys(name for line in log for name in line))


def _series(log: Sequence[Mapping[str, float]], name: str, *, smooth: bool) -> plots.Series:
    step = next(
        (k for k in ("n_images_seen", "images_seen", "step", "iteration") if any(k in line for line in log)), ""
    )
    points = [(line.get(step, float(i)), line[name]) for i, line in enumerate(log) if name in line]
    points = [(x, y) for x, y in points if math.isfinite(y)]
    xs, ys = [x for x, _ in points], [y for _, y in points]
    width = max(1, len(ys) // 60) if smooth else 1
    if width > 1:
        ys = np.convolve(ys, np.ones(width) / width, "valid").tolist()
        xs = xs[width - 1 :]
    # A curve needs no more points than the chart has pixels.
    stride = max(1, len(xs) // 400)
    return plots.Series(name.replace("_", " "), xs[::stride], ys[::stride])


def _prediction_cell(prediction: Prediction | None, truth: np.ndarray, titles: Mapping[str, str]) -> Picture | None:
    if prediction is None:
        return None
    return Picture(prediction.image, f"{titles[prediction.method]} {prediction.subject_id} · {prediction.view}",
                   f"{psnr_db(prediction.image, truth):.1f}")  # fmt: skip


def _reference_cell(
    dataset: Dataset, subject: str, predictions: Sequence[Prediction | None], size: int
) -> Picture | None:
    view = next((p.reference_view for p in predictions if p is not None and p.reference_view >= 0), None)
    if view is None:
        return None
    return Picture(area_resize(dataset.sample(subject, view).image, size), f"reference {subject} · {view}")


def _map_cell(colours: np.ndarray | None, name: str) -> Picture | None:
    return None if colours is None else Picture(colours, f"control map {name}")


def samples_picture(models: Path) -> Picture | None:
    """Return the sheet written by the training stage, or None."""
    image = read_picture(models / "samples.png")
    return None if image is None else Picture(image, "samples of the trained model")
