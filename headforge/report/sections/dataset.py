"""The dataset: subjects, viewpoints and rejects."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TypeVar

import numpy as np

from headforge.report import plots
from headforge.report.blocks import Block, Chart, Charts, Folded, Gallery, Note, Picture, Section, Table
from headforge.report.inputs import Run
from headforge.report.tables import ABSENT
from headforge.store.dataset.shards import Dataset
from headforge.store.dataset.tables import read_rejects
from headforge.types import Sample

T = TypeVar("T")
MAX_REJECT_ROWS = 40
FIRST_ATTRIBUTES = ("hair", "beard", "skin")
"""Attributes to chart before any other, if the generator names them."""
MAX_ATTRIBUTES = 2
MAX_VALUES = 8
BUILTIN_LEAD = "Procedural heads with exact cameras, masks and head parameters."
MAX_MOMENT_VIEWS = 48
"""Views shown of a video or a rig."""


def dataset_section(run: Run, n_subjects: int) -> Section:
    """Return contact sheet, one subject from all sides, coverage, attributes and rejects."""
    title = "Dataset"
    if run.dataset is None:
        return Section("dataset", title, BUILTIN_LEAD, (Note("This run has no dataset.", "missing"),))
    lead = described(run.dataset)
    if not run.dataset.description["n_views"]:
        note = Note("No view passed the quality gates.", "warning")
        return Section("dataset", title, lead, (note, _rejects(run.dataset)))
    blocks: list[Block] = [contact_sheet(run.dataset, n_subjects), one_subject(run.dataset)]
    blocks.append(Charts(_charts(run.dataset)))
    blocks.append(_rejects(run.dataset))
    return Section("dataset", title, lead, tuple(blocks))


def described(dataset: Dataset) -> str:
    """Return a sentence on the pictures' labels, which depend on the generator."""
    generator = dataset.description["generator"]
    if generator == "builtin":
        return BUILTIN_LEAD
    return f"Pictures of {generator} with their cameras and masks; head parameters only where its rows state them."


def contact_sheet(dataset: Dataset, n_subjects: int) -> Gallery:
    """Return one near-frontal view of up to `n_subjects` subjects, spread evenly over the dataset."""
    ids = dataset.subject_ids()
    chosen = spread(ids, n_subjects)
    held_out = set(dataset.subject_ids("test"))
    pictures = []
    for subject in chosen:
        sample = dataset.sample(subject, most_frontal(dataset, subject))
        note = f"{subject} *" if subject in held_out else subject
        pictures.append(Picture(sample.image, f"subject {subject}", note, lossless=False))
    caption = f"{len(chosen)} of {len(ids)} subjects, the most frontal view of each; * held out."
    return Gallery(tuple(pictures), caption, "small")


def one_subject(dataset: Dataset) -> Gallery:
    """Return the views of the first held-out subject: by yaw, or by moment and camera where cameras share moments."""
    subject = (dataset.subject_ids("test") or dataset.subject_ids())[0]
    samples = dataset.samples(subject)
    if samples[0].timestep is not None:
        return _moments(subject, samples[:MAX_MOMENT_VIEWS])
    pictures = tuple(
        Picture(s.image, f"subject {subject}, view {s.view}", f"{s.yaw_deg:+.0f}° {s.pitch_deg:+.0f}°", lossless=False)
        for s in sorted(samples, key=lambda s: s.yaw_deg)
    )
    return Gallery(
        pictures, f"All views of subject {subject} by yaw, each with its own expression (yaw, pitch).", "small"
    )


def _moments(subject: str, samples: Sequence[Sample]) -> Gallery:
    pictures = tuple(
        Picture(s.image, f"subject {subject}, view {s.view}", f"{s.timestep} · {s.camera_id}", lossless=False)
        for s in samples
    )
    return Gallery(pictures, f"The first {len(samples)} views of subject {subject} (moment, camera).", "small")


def spread(items: list[T], n: int) -> list[T]:
    """Return at most `n` of the items, evenly spaced, the first among them."""
    if len(items) <= n:
        return items
    return [items[i * len(items) // n] for i in range(n)]


def most_frontal(dataset: Dataset, subject_id: str) -> int:
    """Return the view of a subject whose camera is nearest to the front."""
    views = dataset.parameters()
    rows = views.subject_rows[subject_id]
    off_axis = np.abs(views.yaw_deg[rows]) + np.abs(views.pitch_deg[rows])
    return int(views.views[rows][off_axis.argmin()])


def attribute_counts(dataset: Dataset) -> dict[str, dict[str, float]]:
    """Return the counts of subjects by attribute and value, for attributes with few values."""
    views = dataset.parameters()
    found: dict[str, Counter[str]] = {}
    for rows in views.subject_rows.values():
        for name, value in views.attributes[rows.start].items():
            found.setdefault(name, Counter())[str(value)] += 1
    shown = [(name, counts) for name, counts in sorted(found.items(), key=_rank) if 1 < len(counts) <= MAX_VALUES]
    return {name: dict(counts.most_common()) for name, counts in shown}


def _rank(item: tuple[str, object]) -> tuple[int, str]:
    name = item[0]
    return (FIRST_ATTRIBUTES.index(name) if name in FIRST_ATTRIBUTES else len(FIRST_ATTRIBUTES), name)


def _charts(dataset: Dataset) -> tuple[Chart, ...]:
    views = dataset.parameters()
    charts = [Chart(plots.coverage_chart(views.yaw_deg, views.pitch_deg), f"Directions of the {len(views)} views.")]
    for name, counts in list(attribute_counts(dataset).items())[:MAX_ATTRIBUTES]:
        charts.append(Chart(plots.bar_chart(counts, "subjects"), f"Attribute: {name}."))
    return tuple(charts)


def _rejects(dataset: Dataset) -> Block:
    path = dataset.folder / "rejects.parquet"
    rejects = read_rejects(path) if path.is_file() else []
    if not rejects:
        return Note("No item was rejected by the quality gates.")
    counts = Counter(reject.gate for reject in rejects)
    rows = tuple(
        (r.item, r.gate, r.reason, ABSENT if r.value is None else f"{r.value:.4g}") for r in rejects[:MAX_REJECT_ROWS]
    )
    listed = ", ".join(f"{gate}: {count}" for gate, count in sorted(counts.items()))
    table = Table(("item", "gate", "reason", "value"), rows, numeric=False)
    return Folded(f"{len(rejects)} items were rejected ({listed})", (table,))
