"""Lineage of the run: settings, keys, digests, versions, seeds."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePosixPath, PureWindowsPath

from headforge.report.blocks import Block, Folded, Note, Section, Table
from headforge.report.tables import flatten

NOT_LINEAGE = ("time", "date", "started", "finished", "duration", "run_id", "hostname", "pid")
"""Last parts of names for when or where something ran; the experiment tracker records those."""


def lineage_section(lineage: Mapping[str, object]) -> Section:
    """Return one folded table per top-level entry of `lineage`; single values together in the first."""
    lead = "Enough to make every number and picture on this page again. Times and run ids are in the run's tracker."
    plain = {key: value for key, value in lineage.items() if not isinstance(value, Mapping)}
    blocks: list[Block] = []
    if _table(plain).rows:
        blocks.append(_table(plain))
    for key in sorted(lineage, key=str):
        value = lineage[key]
        if isinstance(value, Mapping) and value:
            blocks.append(
                Folded(f"{str(key).replace('_', ' ').capitalize()} ({len(flatten(value))})", (_table(value),))
            )
    if not blocks:
        blocks.append(Note("No lineage was recorded for this run.", "missing"))
    return Section("lineage", "Lineage", lead, tuple(blocks))


def shown_value(value: object) -> str:
    """Return a value as text; an absolute path gives its last part only, so that the page is machine-independent."""
    if isinstance(value, list | tuple):
        return ", ".join(shown_value(item) for item in value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    text = str(value)
    for kind in (PurePosixPath, PureWindowsPath):
        if kind(text).is_absolute() and len(kind(text).parts) > 1:
            return f"…/{kind(text).name}"
    return text


def _table(values: Mapping[str, object]) -> Table:
    rows = tuple((name, shown_value(v)) for name, v in flatten(values) if name.split(".")[-1] not in NOT_LINEAGE)
    return Table(("name", "value"), rows, numeric=False)
