"""Every number with its protocol, the headline cards, and the published values, kept apart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

from headforge.report.blocks import Block, Card, Cards, Folded, Note, Section, Table
from headforge.report.metric_files import MetricSet
from headforge.report.published import WARNING, published_tables
from headforge.report.tables import ABSENT, HASH_LENGTH, comparison_tables, format_value
from headforge.types import MethodOutput

AVATAR_METRICS = ("psnr_db", "ssim", "foreground_psnr_db")
SAME_PERSON_DISTANCE = 0.6
"""dlib's own threshold for two pictures of one person."""


def metrics_section(metrics: MetricSet) -> Section:
    """Return all tables of results, their protocols, and published values."""
    lead = (
        "Every value with the number of things it is a mean of and the hash of its protocol. Values of unlike "
        "protocols never share a table."
    )
    blocks: list[Block] = []
    for group, rows in metrics.groups.items():
        blocks.extend(comparison_tables(rows, group))
    if metrics.headline:
        blocks.append(Folded(f"All headline values ({len(metrics.headline)})", (headline_table(metrics.headline),)))
    if metrics.protocols:
        blocks.append(Folded(f"Protocols ({len(metrics.protocols)})", (protocol_table(metrics.protocols),)))
    if not blocks:
        blocks.append(Note("This run has not been evaluated.", "missing"))
    published = Folded("Published values, not comparable", (Note(WARNING, "warning"), *published_tables()))
    return Section("numbers", "Numbers", lead, (*blocks, published))


def avatar_tables(metrics: MetricSet, method: MethodOutput) -> tuple[Table, ...]:
    """Return the quality of a method's avatars by hair, for a few key metrics; the numbers list all."""
    of_method = (method.tracked, method.exact)
    rows = [row for group in metrics.groups.values() for row in group if row.method in of_method]
    return comparison_tables([row for row in rows if row.metric in AVATAR_METRICS], f"{method.title} by hair length")


def headline_cards(
    headline: Mapping[str, float | None], models: Sequence[MethodOutput], methods: Sequence[MethodOutput]
) -> Cards:
    """Return the headline numbers with their baselines; unmeasured ones are left out."""
    makers = [partial(make, model) for model in models for make in (_model_psnr, _model_ssim)]
    makers += [partial(make, method) for make in (_avatars, _portrait) for method in methods]
    return Cards(tuple(card for make in (*makers, _tracking) if (card := make(headline)) is not None))


Headline = Mapping[str, float | None]


def _model_psnr(model: MethodOutput, headline: Headline) -> Card | None:
    return _model_card(model, headline, "PSNR", "psnr_db", "{:.2f}", "dB")


def _model_ssim(model: MethodOutput, headline: Headline) -> Card | None:
    return _model_card(model, headline, "SSIM", "ssim", "{:.3f}", "")


def _model_card(model: MethodOutput, headline: Headline, title: str, metric: str, form: str, unit: str) -> Card | None:
    key = f"{model.prefix}heldout"
    value = headline.get(f"{key}.{metric}")
    if value is None:
        return None
    baselines = _pairs(headline, f"{form} {unit}".strip(), {
        "copy": f"{key}.copy_{metric}",
        "reprojection": f"{key}.reprojection_{metric}",
        "exact parameters": f"{key}_exact.{metric}",
    })  # fmt: skip
    return Card(f"{model.title}, {title}", form.format(value), unit, _people(headline, key), baselines)


def _avatars(method: MethodOutput, headline: Headline) -> Card | None:
    key = f"{method.prefix}avatar"
    value, n = headline.get(f"{key}.psnr_db"), headline.get(f"{key}.n_short_hair")
    if value is None:
        return None
    others = _pairs(headline, "{:.2f} dB", {
        "medium hair": f"{key}.medium_hair_psnr_db",
        "long hair": f"{key}.long_hair_psnr_db",
        "tracked parameters": f"{key}_tracked.psnr_db",
    })  # fmt: skip
    whom = "" if n is None else f"{n:.0f} short-haired people; "
    return Card(f"{method.title}, PSNR", f"{value:.2f}", "dB", f"{whom}views and expressions not fitted to", others)


def _portrait(method: MethodOutput, headline: Headline) -> Card | None:
    value = headline.get(f"{method.prefix}portrait.identity_distance")
    if value is None:
        return None
    limit = (("same person below", f"{SAME_PERSON_DISTANCE:g}"),)
    title = f"Portrait, identity distance, {method.title}" if method.prefix else "Portrait, identity distance"
    return Card(title, f"{value:.3f}", "", "photo to avatar, dlib embedding", limit)


def _tracking(headline: Headline) -> Card | None:
    value = headline.get("tracking.rms_px")
    if value is None:
        return None
    floor = _pairs(headline, "{:.3f} px", {"noise floor": "tracking.noise_floor_px"})
    shape = _pairs(headline, "{:.2f} mm", {"face surface": "tracking.vertex_mm"})
    return Card("Tracking, residual", f"{value:.3f}", "px", "per landmark coordinate", (*floor, *shape))


def _pairs(headline: Headline, form: str, names: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    found = ((title, headline.get(key)) for title, key in names.items())
    return tuple((title, form.format(value)) for title, value in found if value is not None)


def headline_table(headline: Mapping[str, float | None]) -> Table:
    """Return every headline value by name."""
    return Table(("name", "value"), tuple((name, format_value(name, headline[name])) for name in sorted(headline)))


def _people(headline: Headline, key: str) -> str:
    n = headline.get(f"{key}.n_identities")
    return "" if n is None else f"{n:.0f} people the model has never seen"


def protocol_table(protocols: Mapping[str, Mapping[str, object]]) -> Table:
    """Return the protocol of each hash, one per row; settings shared by all are in the caption."""
    names = list(dict.fromkeys(name for protocol in protocols.values() for name in protocol))
    values = {name: [_setting(protocol, name) for protocol in protocols.values()] for name in names}
    shared = {name: found[0] for name, found in values.items() if len(set(found)) == 1}
    shown = [name for name in names if name not in shared]
    rows = sorted(zip(*(values[name] for name in shown), protocols, strict=True))
    body = tuple((key[:HASH_LENGTH], *settings) for *settings, key in rows)
    listed = ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in shared.items())
    titles = ("protocol", *(name.replace("_", " ") for name in shown))
    return Table(titles, body, f"In all of them: {listed}." if shared else "", numeric=False)


def _setting(protocol: Mapping[str, object], name: str) -> str:
    # The weights' hash is as long as the protocol's own; a prefix identifies it.
    text = str(protocol.get(name, ""))
    return (text[:HASH_LENGTH] if name.endswith("sha256") else text) or ABSENT
