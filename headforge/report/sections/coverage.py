"""Coverage of the dataset: counts by attribute, groups of similar people and near-duplicate identities."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np

from headforge.report import plots
from headforge.report.blocks import Block, Chart, Charts, Folded, Grid, GridRow, Note, Picture, Section
from headforge.report.inputs import Run
from headforge.report.sections.dataset import most_frontal, spread
from headforge.store.dataset.coverage import COVERAGE_FILE, Cell, read_coverage
from headforge.store.dataset.identities import IDENTITIES_FILE, MARKS_FILE, Identity, Mark, read_identities, read_marks
from headforge.store.dataset.shards import Dataset

TITLE = "Coverage"
LEAD = (
    "How many views show what: bins of azimuth and elevation, what the face shows most, and groups of similar people."
)
N_FACES = 8
"""People shown of a group."""
MAX_MARKS = 24
"""Marked people shown."""
MAX_NARROW_COLUMNS = 10
"""Heat maps with more columns are not set side by side."""
WIDE_IN = 8.6
"""Their width in inches."""
GROUP_ATTRIBUTES = ("skin", "hair", "beard")
"""Attributes that describe a group by its most frequent values."""


def coverage_section(run: Run) -> Section:
    """Return heat maps of the counts, faces of each group, and marked people beside their near-duplicates."""
    dataset = run.dataset
    if dataset is None or not (dataset.folder / COVERAGE_FILE).is_file():
        return Section("coverage", TITLE, LEAD, (Note("This run has no coverage table.", "missing"),))
    cells = read_coverage(dataset.folder / COVERAGE_FILE)
    if not cells:
        return Section("coverage", TITLE, LEAD, (Note("The dataset has no views."),))
    blocks: list[Block] = [Note(filled(cells)), *coverage_charts(cells)]
    people = dataset.folder / IDENTITIES_FILE
    if people.is_file():
        blocks.append(group_grid(dataset, read_identities(people)))
    blocks.append(marks_block(dataset))
    return Section("coverage", TITLE, LEAD, tuple(blocks))


def filled(cells: Sequence[Cell]) -> str:
    """Return a sentence on the count of covered combinations."""
    directions = {(cell.yaw_deg, cell.pitch_deg) for cell in cells}
    expressions, groups = {cell.expression for cell in cells}, {cell.cluster for cell in cells}
    n = len(directions) * len(expressions) * len(groups)
    shown = {(cell.yaw_deg, cell.pitch_deg, cell.expression, cell.cluster) for cell in cells}
    return (
        f"{len(shown):,} of the {n:,} combinations of {len(directions)} directions, {len(expressions)} expressions and "
        f"{len(groups)} groups of people have at least one view."
    )


def coverage_charts(cells: Sequence[Cell]) -> tuple[Block, ...]:
    """Return elevation by azimuth, expression by azimuth, expression by group; one under the other where a turn is
    wide.
    """
    elevations = sorted({cell.pitch_deg for cell in cells}, reverse=True)
    azimuths = sorted({cell.yaw_deg for cell in cells})
    expressions = [name for name, _ in _totals(cells, lambda cell: cell.expression)]
    groups = sorted({cell.cluster for cell in cells})
    width = WIDE_IN if len(azimuths) > MAX_NARROW_COLUMNS else plots.NARROW[0]

    def chart(table: tuple[np.ndarray, list[str], list[str]], x_label: str, y_label: str, caption: str) -> Chart:
        size = (width, max(plots.NARROW[1], 0.9 + 0.3 * len(table[1])))
        return Chart(plots.heat_map(*table, x_label, y_label, size=size), caption)

    yaw, pitch = "yaw from (°)", "pitch from (°)"
    by_direction = _counts(cells, elevations, azimuths, lambda cell: cell.pitch_deg, lambda cell: cell.yaw_deg)
    by_yaw = _counts(cells, expressions, azimuths, lambda cell: cell.expression, lambda cell: cell.yaw_deg)
    by_group = _counts(cells, expressions, groups, lambda cell: cell.expression, lambda cell: cell.cluster)
    charts = (
        chart(by_direction, yaw, pitch, "Views by direction."),
        chart(by_yaw, yaw, "", "Views by what the face shows and azimuth."),
        chart(by_group, "group", "", "Views by what the face shows and group of people."),
    )
    return charts if width == WIDE_IN else (Charts(charts),)


def group_grid(dataset: Dataset, people: Sequence[Identity]) -> Grid:
    """Return some people of each group, their most frontal views."""
    found = set(dataset.subject_ids())
    groups: dict[int, list[str]] = {}
    for one in people:
        if one.subject_id in found:
            groups.setdefault(one.cluster, []).append(one.subject_id)
    rows = []
    for group, members in sorted(groups.items()):
        cells = [_face(dataset, subject_id) for subject_id in spread(members, N_FACES)]
        label = f"{group} · {_people(len(members))}: {_described(dataset, members)}"
        rows.append(GridRow(label, tuple(cells) + (None,) * (N_FACES - len(cells))))
    caption = "Groups of similar people: number, size, commonest attributes, and some of them."
    return Grid(("",) * N_FACES, tuple(rows), caption)


def marks_block(dataset: Dataset) -> Block:
    """Return marked people beside the earlier people they duplicate."""
    path = dataset.folder / MARKS_FILE
    marks = read_marks(path) if path.is_file() else None
    if marks is None:
        return Note("Nobody looked for people who are too like one another.", "missing")
    if not marks:
        return Note("Nobody is marked as too like an earlier person, in the same split or in the other.")
    counts = Counter(mark.kind for mark in marks)
    rows = tuple(_mark_row(dataset, mark) for mark in marks[:MAX_MARKS])
    grid = Grid(("marked", "earlier"), rows, "The most frontal view of each.")
    people = _people(len({mark.subject_id for mark in marks}))
    listed = ", ".join(f"{kind}: {count}" for kind, count in sorted(counts.items()))
    return Folded(f"{people} too like an earlier one ({listed})", (grid,))


def _mark_row(dataset: Dataset, mark: Mark) -> GridRow:
    pair = (_face(dataset, mark.subject_id), _face(dataset, mark.other_id))
    return GridRow(f"{mark.kind}, distance {mark.distance:.3g}", pair)


def _face(dataset: Dataset, subject_id: str) -> Picture:
    image = dataset.sample(subject_id, most_frontal(dataset, subject_id)).image
    return Picture(image, f"subject {subject_id}", subject_id, lossless=False)


def _described(dataset: Dataset, members: Sequence[str]) -> str:
    """Return the most frequent values of some attributes, such as "medium skin, short hair"."""
    views = dataset.parameters()
    found = []
    for name in GROUP_ATTRIBUTES:
        values = [views.attributes[views.subject_rows[subject_id].start].get(name, "") for subject_id in members]
        value, _ = Counter(values).most_common(1)[0]
        if value and value != "none":
            found.append(f"{value} {name}")
    return ", ".join(found)


def _people(n: int) -> str:
    return f"{n} {'person' if n == 1 else 'people'}"


def _totals(cells: Sequence[Cell], key: Callable[[Cell], str]) -> list[tuple[str, int]]:
    totals: Counter[str] = Counter()
    for cell in cells:
        totals[key(cell)] += cell.n_views
    return totals.most_common()


def _counts(
    cells: Sequence[Cell],
    rows: Sequence[object],
    columns: Sequence[object],
    row_of: Callable[[Cell], object],
    column_of: Callable[[Cell], object],
) -> tuple[np.ndarray, list[str], list[str]]:
    """Return views by two properties: counts [R, C] and the names of rows and columns."""
    counts = np.zeros((len(rows), len(columns)), dtype=int)
    for cell in cells:
        counts[rows.index(row_of(cell)), columns.index(column_of(cell))] += cell.n_views
    return counts, [str(row) for row in rows], [str(column) for column in columns]
