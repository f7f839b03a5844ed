"""Results of the stage `evaluate`, read for the report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from headforge.guarded import read_json
from headforge.report.tables import MetricRow, flatten

SOURCES = ("tracked", "exact")
"""Source of the parameters that a picture was drawn with."""
BASELINES = ("copy", "reproject_tracked", "reproject_exact", "mean")
"""Rows of a table: models and avatars first, these after them."""
METRIC_ORDER = ("psnr_db", "ssim", "l1", "foreground_psnr_db", "foreground_ssim", "foreground_l1")
SUBSET_ORDER = ("", "bald hair", "short hair", "medium hair", "long hair")


@dataclass(frozen=True)
class MetricSet:
    """Results of one run."""

    headline: Mapping[str, float | None] = field(default_factory=dict)
    """Dotted name to value, as in metrics.json."""
    groups: Mapping[str, tuple[MetricRow, ...]] = field(default_factory=dict)
    """Rows by the title of their table."""
    protocols: Mapping[str, Mapping[str, object]] = field(default_factory=dict)
    """Protocol by hash."""
    likeness: Mapping[str, str] = field(default_factory=dict)
    """A sentence on each portrait, by name."""


def read_metrics(folder: Path | None, models: Sequence[str] = (), avatars: Sequence[str] = ()) -> MetricSet:
    """Read data/metrics; an empty set if it is not there. Raises DataError if a file in it is damaged.

    `models` and `avatars` are the labels of what was measured, in the order of the tables' rows.
    """
    found = _read(folder / "metrics.json") if folder is not None else None
    if folder is None or not isinstance(found, dict):
        return MetricSet()
    portraits = found.pop("portraits", {})
    for name in [name for name in found if name.endswith("_portraits")]:
        found.pop(name)
    leaves = flatten(found)
    order = [f"{label}_{source}" for label in (*models, *avatars) for source in SOURCES] + list(BASELINES)
    table, protocols = _read(folder / "details" / "table.json"), _read(folder / "details" / "protocols.json")
    return MetricSet(
        headline={k: v for k, v in leaves if v is None or (isinstance(v, int | float) and not isinstance(v, bool))},
        groups=_groups(table, order) if isinstance(table, list) else {},
        protocols=protocols if isinstance(protocols, dict) else {},
        likeness={name: _likeness(entry) for name, entry in portraits.items()},
    )


def _read(path: Path) -> object:
    if not path.is_file():
        return None
    return read_json(path, "run the stage evaluate again.")


def _groups(table: list[dict], order: Sequence[str]) -> dict[str, tuple[MetricRow, ...]]:
    groups: dict[str, list[MetricRow]] = {}
    for entry in table:
        names = ("metric", "method", "value", "n", "protocol", "subset")
        groups.setdefault(entry["group"], []).append(MetricRow(**{name: entry[name] for name in names}))
    ordered = {title: tuple(sorted(rows, key=lambda row: _rank(row, order))) for title, rows in groups.items()}
    return dict(sorted(ordered.items(), key=lambda item: _rank(item[1][0], order)))


def _rank(row: MetricRow, order: Sequence[str]) -> tuple[int, str, int, str, int, str]:
    return (
        *_place(order, row.method),
        *_place(SUBSET_ORDER, row.subset),
        *_place(METRIC_ORDER, row.metric),
    )


def _place(order: Sequence[str], name: str) -> tuple[int, str]:
    return (order.index(name) if name in order else len(order), name)


def _likeness(entry: Mapping[str, object]) -> str:
    distance, residual = entry.get("identity_distance"), entry.get("residual_eyes")
    parts = []
    if isinstance(distance, int | float):
        parts.append(f"identity distance between photo and avatar {distance:.3f} (dlib; the same person below 0.6)")
    elif entry.get("reason"):
        parts.append(f"no identity distance: {entry['reason']}")
    if isinstance(residual, int | float):
        parts.append(f"landmark residual {100 * residual:.1f} % of the distance between the outer eye corners")
    return "; ".join(parts)
