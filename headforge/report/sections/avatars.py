"""Avatars of held-out subjects: renders of views and expressions they were not fitted to, with the ground truth."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from headforge.report.blocks import Block, Gallery, Grid, GridRow, Note, Picture, Section, Video
from headforge.report.inputs import AvatarFolder, Run
from headforge.report.pictures import ERROR_GAIN, error_map, psnr_db
from headforge.report.sections.dataset import spread
from headforge.report.sections.models import anchor_of
from headforge.report.tables import rejects_table
from headforge.store.dataset.shards import Dataset
from headforge.store.images import area_resize
from headforge.types import MethodOutput, Prediction


def avatars_section(run: Run, method: MethodOutput, n_avatars: int, n_views: int, tables: Sequence[Block]) -> Section:
    """Return truth, render and error for up to `n_avatars` subjects, their turntables, and the metric `tables`."""
    lead = "Gaussians that ride on the head model. Shown are views and expressions that were kept out of the fit."
    folders = run.subject_avatars(method)
    blocks: list[Block] = []
    if not folders or run.dataset is None:
        blocks.append(Note("This run has no avatars of the dataset's subjects.", "missing"))
    else:
        shown = spread(list(folders), n_avatars)
        chosen = {folder.name: subject_predictions(run.dataset, folder, n_views) for folder in shown}
        widest = max(len(predictions) for predictions in chosen.values())
        if widest:
            rows = [subject_row(run.dataset, name, found, widest) for name, found in chosen.items() if found]
            columns = tuple(title for _ in range(widest) for title in ("truth", "render", f"error x{ERROR_GAIN:g}"))
            caption = (
                "Held-out views, tracked parameters where the run has them. Numbers: PSNR over the whole picture, dB."
            )
            blocks.append(Grid(columns, tuple(rows), caption, group=3))
        films = tuple(_film(f) for f in shown if f.turntable is not None)
        if films:
            blocks.append(Gallery(films, "Turntables.", "medium"))
        if not any(hair_of(run.dataset, f.name) == "long" for f in folders):
            blocks.append(Note("No long-haired subject is among the avatars of this run.", "missing"))
    if run.avatar_rejects and method == run.methods[0]:
        blocks.append(rejects_table(run.avatar_rejects, "Rejected subjects"))
    return Section(anchor_of(method), method.title, lead, (*blocks, *tables))


def hair_of(dataset: Dataset, subject_id: str) -> str:
    """Return the subject's hair as its generator named it; empty if unknown."""
    views = dataset.parameters()
    rows = views.subject_rows.get(subject_id)
    return "" if rows is None else str(views.attributes[rows.start].get("hair", ""))


def subject_predictions(dataset: Dataset, folder: AvatarFolder, n_views: int) -> list[Prediction]:
    """Return up to `n_views` of an avatar's renders of views that the dataset holds."""
    known = set(dataset.subject_ids())
    return chosen_predictions([p for p in folder.predictions() if p.subject_id in known], n_views)


def subject_row(dataset: Dataset, name: str, predictions: Sequence[Prediction], n_views: int) -> GridRow:
    """Return truth, render and error for each prediction, filled up to `n_views`."""
    cells: list[Picture | None] = []
    for p in predictions:
        truth = area_resize(dataset.sample(p.subject_id, p.view).image, p.image.shape[0])
        value = psnr_db(p.image, truth)
        view = f"{p.subject_id} · {p.view}"
        cells.append(Picture(truth, f"truth {view}"))
        cells.append(Picture(p.image, f"render {view}", "exact" if math.isinf(value) else f"{value:.1f}"))
        cells.append(Picture(error_map(p.image, truth), f"error {view}"))
    cells += [None] * (3 * n_views - len(cells))
    hair = hair_of(dataset, name)
    return GridRow(f"{name} {hair and f'({hair} hair)'}".strip(), tuple(cells))


def chosen_predictions(predictions: Sequence[Prediction], n: int) -> list[Prediction]:
    """Return `n` predictions of one method (the tracked one if it is there), spread over the views."""
    methods = sorted({p.method for p in predictions}, key=lambda m: ("tracked" not in m, m))
    of_method = sorted((p for p in predictions if p.method == methods[0]), key=lambda p: p.view) if methods else []
    if len(of_method) <= n:
        return of_method
    return [of_method[i] for i in np.linspace(0, len(of_method) - 1, n).round().astype(int)]


def _film(folder: AvatarFolder) -> Video:
    return Video(folder.turntable or b"", f"turntable of {folder.name}", folder.name)
