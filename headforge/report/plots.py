"""Charts as SVG in the page's colours, light or dark. Equal data give equal bytes."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

STAND_INS: Mapping[str, str] = {
    "#000001": "currentColor",
    "#000002": "var(--soft)",
    "#000003": "var(--line)",
    "#000011": "var(--s1)",
    "#000012": "var(--s2)",
    "#000013": "var(--s3)",
    "#000014": "var(--s4)",
    "#000015": "var(--s5)",
}
"""Drawing colours and their replacements in the page."""
INK, SOFT, LINE, *SERIES = STAND_INS
Size = tuple[float, float]
"""Width and height in inches; the page scales charts to their column, so this sets the apparent font size."""
NARROW: Size = (4.3, 2.7)
WIDE: Size = (6.6, 2.8)
CELL_FONT_PT = 9.0
"""Numbers in the cells of a heat map."""
MAX_COLUMN_NAMES = 16
"""Column names of a heat map that fit side by side; with more columns every other one is named."""
LOG_FROM_RATIO = 10.0
"""A logarithmic axis over a smaller range would have too few ticks."""
SETTINGS: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "headforge",
    "text.parse_math": False,
    "font.family": "sans-serif",
    "font.size": 10.5,
    "axes.edgecolor": SOFT,
    "axes.labelcolor": SOFT,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": LINE,
    "grid.linewidth": 0.8,
    "xtick.color": SOFT,
    "ytick.color": SOFT,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "text.color": INK,
    "legend.frameon": False,
    "legend.labelcolor": INK,
    "path.simplify": True,
}


@dataclass(frozen=True)
class Series:
    """One line of a chart."""

    name: str
    x: Sequence[float]
    y: Sequence[float]
    dashed: bool = False


def line_chart(series: Sequence[Series], x_label: str, y_label: str, *, log_y: bool = False, size: Size = WIDE) -> str:
    """Return lines over one pair of axes, as SVG; `log_y` uses a logarithmic axis if the values span enough."""

    def draw(axes: Axes) -> None:
        for index, one in enumerate(series):
            colour = SERIES[index % len(SERIES)]
            axes.plot(one.x, one.y, color=colour, lw=1.6, ls="--" if one.dashed else "-", label=one.name)
        if log_y and _ratio([value for one in series for value in one.y]) > LOG_FROM_RATIO:
            axes.set_yscale("log")
            axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
            axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
            axes.yaxis.set_minor_formatter(NullFormatter())
        if len(series) > 1:
            axes.legend(loc="best")

    return _chart(draw, x_label, y_label, size)


def histogram(
    groups: Mapping[str, Sequence[float]], x_label: str, y_label: str = "count", *, bins: int = 30, size: Size = NARROW
) -> str:
    """Return histograms of one or several groups of values on common bins, as SVG."""
    values = np.concatenate([np.asarray(v, float) for v in groups.values()] or [np.zeros(0)])
    finite = values[np.isfinite(values)]
    # The last bin takes the tail, so that an outlier does not compress the rest.
    low, high = (float(finite.min()), float(np.quantile(finite, 0.995))) if finite.size else (0.0, 1.0)
    edges = np.linspace(low, max(high, low + 1e-6), bins + 1)

    def draw(axes: Axes) -> None:
        for index, (name, group) in enumerate(groups.items()):
            data = np.clip(np.asarray(group, float), edges[0], edges[-1])
            axes.hist(data, edges.tolist(), color=SERIES[index % len(SERIES)], alpha=0.75, label=name)
        if len(groups) > 1:
            axes.legend(loc="best")
        axes.grid(axis="x", visible=False)

    return _chart(draw, x_label, y_label, size)


def bar_chart(counts: Mapping[str, float], x_label: str, *, size: Size = NARROW) -> str:
    """Return horizontal bars, the first on top, each with its number, as SVG."""

    def draw(axes: Axes) -> None:
        positions = np.arange(len(counts))[::-1]
        axes.barh(positions, list(counts.values()), height=0.62, color=SERIES[0], alpha=0.85)
        axes.set_yticks(positions, list(counts), color=INK)
        top = max(counts.values(), default=1.0)
        for position, value in zip(positions, counts.values(), strict=True):
            axes.text(value + 0.015 * top, position, f"{value:g}", va="center", color=SOFT)
        axes.set_xlim(0, top * 1.12)
        axes.grid(axis="y", visible=False)

    return _chart(draw, x_label, "", size)


def coverage_chart(yaw_deg: np.ndarray, pitch_deg: np.ndarray, *, bin_deg: float = 5.0, size: Size = NARROW) -> str:
    """Return the counts of views by direction: yaw [N] by pitch [N] in degrees, as SVG."""
    x_edges, y_edges = _edges(yaw_deg, bin_deg), _edges(pitch_deg, bin_deg)
    counts, _, _ = np.histogram2d(yaw_deg, pitch_deg, (x_edges, y_edges))
    top = max(counts.max(), 1)

    def draw(axes: Axes) -> None:
        for i, j in zip(*np.nonzero(counts), strict=True):
            corner = (float(x_edges[i]), float(y_edges[j]))
            shade = 0.12 + 0.88 * float(counts[i, j] / top)
            axes.add_patch(Rectangle(corner, bin_deg * 0.94, bin_deg * 0.94, color=SERIES[1], alpha=shade, lw=0))
        axes.set_xlim(x_edges[0], x_edges[-1])
        axes.set_ylim(y_edges[0], y_edges[-1])
        axes.set_aspect("equal")

    return _chart(draw, "yaw (°)", "pitch (°)", size)


def heat_map(
    counts: np.ndarray, rows: Sequence[str], columns: Sequence[str], x_label: str, y_label: str, *, size: Size = WIDE
) -> str:
    """Return counts [R, C] as a table of shaded cells with their numbers, the first row on top, as SVG; 0 is an empty
    cell.
    """
    top = max(float(counts.max(initial=0)), 1.0)

    def draw(axes: Axes) -> None:
        for (r, c), count in np.ndenumerate(counts):
            place, style = (c - 0.47, r - 0.47), {"lw": 0, "alpha": 0.10 + 0.55 * float(count) / top}
            if count == 0:
                style = {"lw": 0.8, "ls": ":", "fill": False}
            axes.add_patch(Rectangle(place, 0.94, 0.94, color=SERIES[1] if count else SOFT, **style))
            text = f"{count:g}" if count < 10_000 else f"{count / 1000:.0f}k"
            axes.text(c, r, text, ha="center", va="center", color=INK if count else SOFT, fontsize=CELL_FONT_PT)
        step = 1 + len(columns) // MAX_COLUMN_NAMES
        axes.set_xticks(range(0, len(columns), step), columns[::step])
        axes.set_yticks(range(len(rows)), rows)
        axes.set_xlim(-0.5, max(len(columns), 1) - 0.5)
        axes.set_ylim(max(len(rows), 1) - 0.5, -0.5)
        axes.grid(visible=False)

    return _chart(draw, x_label, y_label, size)


def scatter_chart(
    groups: Mapping[str, tuple[Sequence[float], Sequence[float]]], x_label: str, y_label: str, *, size: Size = NARROW
) -> str:
    """Return points of one or several groups, as SVG."""

    def draw(axes: Axes) -> None:
        for index, (name, (x, y)) in enumerate(groups.items()):
            axes.scatter(x, y, s=14, color=SERIES[index % len(SERIES)], alpha=0.7, lw=0, label=name)
        if len(groups) > 1:
            axes.legend(loc="best")

    return _chart(draw, x_label, y_label, size)


def _ratio(values: Sequence[float]) -> float:
    """Return the ratio of the largest to the smallest positive value; 1 without any."""
    positive = [value for value in values if value > 0]
    return max(positive) / min(positive) if positive else 1.0


def _edges(values: np.ndarray, step: float) -> np.ndarray:
    low = np.floor(values.min() / step) if values.size else 0.0
    high = np.ceil((values.max() + 1e-6) / step) if values.size else 1.0
    return np.arange(low, max(high, low + 1) + 1) * step


def _chart(draw: Callable[[Axes], None], x_label: str, y_label: str, size: Size) -> str:
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(SETTINGS)
        figure = Figure(figsize=size, layout="constrained")
        axes = figure.subplots()
        axes.xaxis.set_major_locator(MaxNLocator(5))
        axes.yaxis.set_major_locator(MaxNLocator(4))
        draw(axes)
        axes.set_xlabel(x_label)
        axes.set_ylabel(y_label)
        return _to_svg(figure)


def _to_svg(figure: Figure) -> str:
    buffer = io.StringIO()
    FigureCanvasSVG(figure).print_svg(buffer, metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    svg = buffer.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    # The page is the background: remove matplotlib's white patches behind the figure and the axes.
    svg = re.sub(r'<g id="patch_[12]">\s*<path [^>]*fill: #ffffff[^>]*/>\s*</g>', "", svg)
    svg = re.sub(r' (width|height)="[\d.]+pt"', "", svg, count=2)
    for stand_in, colour in STAND_INS.items():
        svg = svg.replace(stand_in, colour)
    return svg
