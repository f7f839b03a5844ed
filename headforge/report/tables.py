"""Tables of metrics; only values of one protocol may share a column."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from headforge.errors import HeadforgeError
from headforge.report.blocks import Table

ABSENT = "\N{EN DASH}"
"""Text for a missing value."""
HASH_LENGTH = 8
"""Hex digits of a protocol's hash that are printed."""


class UnlikeProtocolsError(HeadforgeError):
    """Numbers measured under different protocols cannot share a column."""

    def __init__(self, metric: str, protocols: Sequence[str]) -> None:
        super().__init__(
            f"'{metric}' was measured under {len(protocols)} protocols "
            f"({', '.join(p[:HASH_LENGTH] for p in protocols)}); such values can't stand in one column.",
            "make one table per protocol (comparison_tables does), or evaluate all methods under one protocol.",
        )
        self.metric = metric
        self.protocols = tuple(protocols)


@dataclass(frozen=True)
class MetricRow:
    """One measured number."""

    metric: str
    """Such as "psnr_db"."""
    method: str
    """Such as "control_tracked" or "copy"."""
    value: float | None
    """None if it could not be measured."""
    n: int
    """Count of pictures, subjects or pairs averaged; the protocol says which."""
    protocol: str
    """Hash of everything that decides whether two values of the metric can be compared."""
    subset: str = ""
    """Such as "long hair"; empty for everything."""


def comparison_table(rows: Sequence[MetricRow], caption: str) -> Table:
    """Return methods down, metrics across, with n at the end of each row and the protocol beneath each column.

    Raises UnlikeProtocolsError if a column would hold values of different protocols.
    """
    metrics = list(dict.fromkeys(row.metric for row in rows))
    for metric in metrics:
        protocols = sorted({row.protocol for row in rows if row.metric == metric})
        if len(protocols) > 1:
            raise UnlikeProtocolsError(metric, protocols)
    methods = list(dict.fromkeys((row.method, row.subset) for row in rows))
    found = {(row.method, row.subset, row.metric): row for row in rows}
    body = []
    for method, subset in methods:
        of_method = [found.get((method, subset, metric)) for metric in metrics]
        body.append((_title(method, subset), *(_cell(row) for row in of_method), _counts(of_method)))
    of_metric = {metric: next(row for row in rows if row.metric == metric) for metric in metrics}
    body.append(("protocol", *(of_metric[metric].protocol[:HASH_LENGTH] for metric in metrics), ""))
    return Table(("method", *(metric_title(metric) for metric in metrics), "n"), tuple(body), caption)


def comparison_tables(rows: Sequence[MetricRow], caption: str) -> tuple[Table, ...]:
    """Return as few comparison tables as unlike protocols allow: the first holds each metric's first protocol, and so
    on.
    """
    ranks: dict[str, list[str]] = {}
    layers: dict[int, list[MetricRow]] = {}
    for row in rows:
        known = ranks.setdefault(row.metric, [])
        if row.protocol not in known:
            known.append(row.protocol)
        layers.setdefault(known.index(row.protocol), []).append(row)
    return tuple(
        comparison_table(layer, caption if not rank else f"{caption} (another protocol, not comparable with the above)")
        for rank, layer in sorted(layers.items())
    )


UNITS = {"_db": "dB", "_px": "px", "_deg": "\N{DEGREE SIGN}", "_mm": "mm", "_pct": "%"}
"""Unit by the suffix of a metric's name."""
ACRONYMS = {"psnr": "PSNR", "ssim": "SSIM", "l1": "L1", "rms": "RMS", "lpips": "LPIPS"}


def rejects_table(items: Sequence[Mapping[str, object]], caption: str) -> Table:
    """Return the table of rejects by check and reason."""
    rows = tuple(tuple(str(item.get(key, "")) for key in ("item", "gate", "reason")) for item in items)
    return Table(("item", "check", "reason"), rows, caption, numeric=False)


def metric_title(metric: str) -> str:
    """Return the name of a metric as a column title, with its unit."""
    suffix = next((s for s in UNITS if metric.endswith(s)), "")
    words = metric.removesuffix(suffix).split("_")
    name = " ".join(ACRONYMS.get(word, word) for word in words)
    return f"{name} ({UNITS[suffix]})" if suffix else name


def format_value(metric: str, value: float | None) -> str:
    """Return a number with the metric's digits; a dash for None."""
    if value is None:
        return ABSENT
    if metric.endswith(tuple(UNITS)):
        return f"{value:.2f}"
    return f"{value:g}" if float(value).is_integer() else f"{value:.4f}"


def _title(method: str, subset: str) -> str:
    name = method.replace("_", " ")
    return f"{name} · {subset}" if subset else name


def _cell(row: MetricRow | None) -> str:
    return ABSENT if row is None else format_value(row.metric, row.value)


def _counts(rows: Sequence[MetricRow | None]) -> str:
    counts = [row.n for row in rows if row is not None]
    return str(counts[0]) if min(counts) == max(counts) else f"{min(counts)} to {max(counts)}"


def flatten(value: Mapping[str, object], prefix: str = "") -> list[tuple[str, object]]:
    """Return leaves of nested mappings with dotted names, in the order of the keys."""
    leaves: list[tuple[str, object]] = []
    for key in sorted(value, key=str):
        item = value[key]
        name = f"{prefix}{key}"
        if isinstance(item, Mapping):
            leaves.extend(flatten(item, f"{name}."))
        else:
            leaves.append((name, item))
    return leaves
