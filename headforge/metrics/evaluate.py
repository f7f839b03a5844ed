"""The stage `evaluate`: all metrics of a run and its baselines, each with its protocol."""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from headforge.devices import resolve_device
from headforge.errors import DataError
from headforge.metrics.config import EvaluateConfig
from headforge.metrics.identity import FaceEmbedder, identity_distance
from headforge.metrics.image import l1, psnr, ssim
from headforge.metrics.perceptual import PerceptualDistance, perceptual_protocol
from headforge.metrics.protocol import Protocol
from headforge.store.dataset.shards import Dataset
from headforge.store.dataset.tables import read_predictions
from headforge.store.files import write_json
from headforge.store.images import area_resize, read_photo
from headforge.types import MethodOutput, Prediction

VERSION = 1
REGIONS = {"": "none", "foreground_": "truth>0.5"}
"""Mask of the protocol by prefix of the metric's name."""
SHORT_HAIR = ("bald", "short")
"""Values of the attribute "hair" over which `avatar.psnr_db` is averaged."""
IDENTITY_PROTOCOL = Protocol(
    "id_dlib", "dlib", "55533b28a95800a551ba546ba62fe69625c7e95a7061c338adffead08719da30", 512,
    pairs="portrait photo on white, frontal render of its avatar", split="portraits", average="mean over portraits",
)  # fmt: skip


@dataclass(frozen=True)
class Measured:
    """One metric of one picture."""

    subject_id: str
    view: int
    method: str
    metric: str
    value: float
    protocol: Protocol


def evaluate(
    config: EvaluateConfig,
    dataset: Path,
    tracked: Path,
    predictions: Path,
    avatars: Path,
    faces: FaceEmbedder | None,
    output: Path,
    perceptual: PerceptualDistance | None = None,
    *,
    models: Sequence[MethodOutput],
    methods: Sequence[MethodOutput],
    device: str = "cpu",
) -> dict[str, object]:
    """Measure a run, write `output`/metrics.json and `output`/details and return the content of metrics.json.

    `predictions` is a table of pictures of held-out views, rendered by `models` and baselines; `methods` fitted the
    avatars. Each folder of a method in `avatars` with a predictions.parquet adds its own, each with a frontal.png is
    compared with the portrait of its name in `tracked`/portraits. Missing parts give null. "avatar" covers avatars
    fitted and posed with exact parameters, so that it measures the fitting and not the tracker; "avatar_tracked" is the
    same with tracked ones. `perceptual` is the metric named by `config.perceptual`. Pictures are compared on `device`,
    where the network behind `perceptual` must be too. Raises DataError if a picture is of a view the dataset doesn't
    have.
    """
    place = resolve_device(device)
    data = Dataset(dataset)
    pictures = read_predictions(predictions) if predictions.is_file() else []
    measured = measure_predictions(config, data, pictures, "held-out views, reference shown", perceptual, place)
    of_avatars = [
        p
        for method in methods
        for path in sorted((avatars / method.folder).glob("*/predictions.parquet"))
        for p in read_predictions(path)
    ]
    measured_avatars = measure_predictions(
        config, data, of_avatars, "held-out views and expressions of fitted people", perceptual, place
    )
    portraits = {method: measure_portraits(tracked, avatars / method.folder, faces) for method in methods}
    hair = {p.subject_id: "" for p in of_avatars}
    for subject_id in hair:
        hair[subject_id] = data.samples(subject_id)[0].attributes.get("hair", "")
    metrics: dict[str, object] = {}
    for model in models:
        metrics[f"{model.prefix}heldout"] = heldout_summary(measured, model.tracked, "tracked")
        metrics[f"{model.prefix}heldout_exact"] = heldout_summary(measured, model.exact, "exact")
    for method, found in portraits.items():
        metrics[f"{method.prefix}avatar"] = avatar_summary(measured_avatars, method.exact, hair)
        metrics[f"{method.prefix}avatar_tracked"] = avatar_summary(measured_avatars, method.tracked, hair)
        metrics[f"{method.prefix}portrait"] = portrait_summary(found)
        metrics[f"{method.prefix}portraits"] = found
    metrics["tracking"] = tracking_summary(tracked)
    write_json(output / "metrics.json", metrics)
    write_details(output / "details", [*measured, *measured_avatars], hair, portraits)
    return metrics


def measure_predictions(
    config: EvaluateConfig,
    data: Dataset,
    predictions: Sequence[Prediction],
    pairs: str,
    perceptual: PerceptualDistance | None = None,
    device: torch.device | str = "cpu",
) -> list[Measured]:
    """Return PSNR, SSIM and L1, whole and foreground, of each picture against the dataset's, averaged to its size.

    Computed on `device`, where the network behind `perceptual` must be too.
    """
    by_subject: dict[str, list[Prediction]] = defaultdict(list)
    for prediction in predictions:
        by_subject[prediction.subject_id].append(prediction)
    rows: list[Measured] = []
    known = set(data.subject_ids())
    for subject_id in sorted(by_subject):
        if subject_id not in known:
            raise DataError(subject_id, f"a prediction is of the subject {subject_id}, which the dataset doesn't have.",
                            "run the stages generate and evaluate again on one dataset.")  # fmt: skip
        truths = {sample.view: sample for sample in data.samples(subject_id)}
        for p in by_subject[subject_id]:
            if p.view not in truths:
                raise DataError(subject_id, f"a prediction is of {subject_id}/{p.view}; the dataset doesn't have it.",
                                "run the stages generate and evaluate again on one dataset.")  # fmt: skip
            truth, size = truths[p.view], p.image.shape[:2]
            image = area_resize(truth.image.astype(np.float64) / 255, size)
            mask = area_resize(truth.mask.astype(np.float64) / 255, size) > 0.5
            base = Protocol("", "headforge", resolution_px=size[0], pairs=pairs)
            rows += _measure(config, p, image, mask, base, device)
            if perceptual is not None:
                rows.append(_perceived(perceptual, p, image, base, device))
    return rows


def _measure(
    config: EvaluateConfig,
    p: Prediction,
    truth: np.ndarray,
    mask: np.ndarray,
    base: Protocol,
    device: torch.device | str,
) -> Iterable[Measured]:
    a, b = (
        torch.from_numpy(image).to(device).permute(2, 0, 1)[None] for image in (p.image.astype(np.float64) / 255, truth)
    )
    foreground = torch.from_numpy(mask).to(device)[None] if mask.mean() >= config.min_foreground_share else None
    for prefix, region in REGIONS.items():
        inside = foreground if prefix else None
        if prefix and inside is None:
            continue
        for name, function, metric in (("psnr_db", psnr, "psnr"), ("ssim", ssim, "ssim_gauss11"), ("l1", l1, "l1")):
            value = float(function(a, b, inside))
            if math.isfinite(value):
                protocol = Protocol(**{**base.as_json(), "metric": metric, "mask": region})  # pyright: ignore[reportArgumentType]
                yield Measured(p.subject_id, p.view, p.method, prefix + name, value, protocol)


def _perceived(
    distance: PerceptualDistance, p: Prediction, truth: np.ndarray, base: Protocol, device: torch.device | str
) -> Measured:
    a, b = (
        torch.from_numpy(image).to(device).permute(2, 0, 1)[None].float()
        for image in (p.image / np.float32(255), truth)
    )
    value = float(distance(a, b))
    return Measured(p.subject_id, p.view, p.method, distance.metric, value, perceptual_protocol(distance, base))


def identity_means(rows: Iterable[Measured], method: str, metric: str) -> dict[str, float]:
    """Return the mean over views for each subject."""
    values: dict[str, list[float]] = defaultdict(list)
    for row in rows:
        if row.method == method and row.metric == metric:
            values[row.subject_id].append(row.value)
    return {subject: sum(found) / len(found) for subject, found in sorted(values.items())}


def mean(values: Iterable[float]) -> float | None:
    """Return the arithmetic mean; None without values."""
    found = list(values)
    return sum(found) / len(found) if found else None


def _gain(a: float | None, b: float | None) -> float | None:
    return None if a is None or b is None else a - b


def heldout_summary(rows: Sequence[Measured], method: str, source: str) -> dict[str, float | int | None]:
    """Return the means of a model and of its baselines; `source` is "tracked" or "exact" parameters."""
    reprojection = f"reproject_{source}"

    def value(of: str, metric: str) -> float | None:
        return mean(identity_means(rows, of, metric).values())

    summary: dict[str, float | int | None] = {
        metric: value(method, metric)
        for metric in ("psnr_db", "ssim", "l1", "foreground_psnr_db", "foreground_ssim", "foreground_l1")
    }
    for name, of in (("copy", "copy"), ("reprojection", reprojection), ("mean_image", "mean")):
        for metric in ("psnr_db", "foreground_psnr_db", "ssim"):
            summary[f"{name}_{metric}"] = value(of, metric)
    summary |= {
        "gain_over_copy_db": _gain(summary["psnr_db"], summary["copy_psnr_db"]),
        "foreground_gain_over_copy_db": _gain(summary["foreground_psnr_db"], summary["copy_foreground_psnr_db"]),
        "gain_over_reprojection_db": _gain(summary["psnr_db"], summary["reprojection_psnr_db"]),
        "foreground_gain_over_reprojection_db": _gain(
            summary["foreground_psnr_db"], summary["reprojection_foreground_psnr_db"]
        ),
        "n_identities": len(identity_means(rows, method, "psnr_db")),
        "n_views": sum(row.method == method and row.metric == "psnr_db" for row in rows),
    }
    return summary


def avatar_summary(rows: Sequence[Measured], method: str, hair: Mapping[str, str]) -> dict[str, float | int | None]:
    """Return the metrics of fitted avatars on unseen views and expressions; headline: bald and short-haired people."""
    by_subject = identity_means(rows, method, "psnr_db")
    short = [s for s in by_subject if hair[s] in SHORT_HAIR]
    return {
        "psnr_db": mean(by_subject[s] for s in short),
        "foreground_psnr_db": mean(
            v for s, v in identity_means(rows, method, "foreground_psnr_db").items() if s in short
        ),
        "ssim": mean(v for s, v in identity_means(rows, method, "ssim").items() if s in short),
        "medium_hair_psnr_db": mean(v for s, v in by_subject.items() if hair[s] == "medium"),
        "long_hair_psnr_db": mean(v for s, v in by_subject.items() if hair[s] == "long"),
        "n_subjects": len(by_subject),
        "n_short_hair": len(short),
        "n_long_hair": sum(hair[s] == "long" for s in by_subject),
    }


def measure_portraits(
    tracked: Path, avatars: Path, faces: FaceEmbedder | None
) -> dict[str, dict[str, float | bool | str | None]]:
    """Return per portrait the distance of the photo and the avatar's frontal picture, and the landmark residual."""
    found: dict[str, dict[str, float | bool | str | None]] = {}
    for folder in sorted((tracked / "portraits").glob("*")):
        track, frontal = folder / "track.json", avatars / folder.name / "frontal.png"
        if not track.is_file():
            continue
        entry: dict[str, float | bool | str | None] = {
            "identity_distance": None,
            "reason": "",
            "residual_eyes": json.loads(track.read_text())["residual_eye_distance"],
        }
        if not frontal.is_file():
            entry["reason"] = "there is no avatar of this portrait"
        elif faces is None:
            entry["reason"] = "no face embedding is installed"
        else:
            distance = identity_distance(faces, read_photo(folder / "photo.png"), read_photo(frontal))
            entry |= {"identity_distance": distance.value, "reason": distance.reason}
        entry["face_found"] = entry["identity_distance"] is not None
        found[folder.name] = entry
    return found


def portrait_summary(
    portraits: Mapping[str, Mapping[str, float | bool | str | None]],
) -> dict[str, float | int | None]:
    """Return the means over portraits."""
    distances = [e["identity_distance"] for e in portraits.values() if isinstance(e["identity_distance"], float)]
    residuals = [e["residual_eyes"] for e in portraits.values() if isinstance(e["residual_eyes"], float)]
    return {
        "identity_distance": mean(distances),
        "residual_eyes": mean(residuals),
        "n_portraits": len(portraits),
        "n_faces_found": len(distances),
    }


def tracking_summary(tracked: Path) -> dict[str, float | None]:
    """Read the tracker's summary."""
    path = tracked / "tracks.json"
    found: dict[str, float | None] = {"rms_px": None}
    return found | (json.loads(path.read_text()) if path.is_file() else {})


def write_details(
    folder: Path,
    rows: Sequence[Measured],
    hair: Mapping[str, str],
    portraits: Mapping[MethodOutput, Mapping[str, Mapping[str, float | bool | str | None]]],
) -> None:
    """Write rows.parquet (all values), table.json (means per method with n and protocol) and protocols.json."""
    folder.mkdir(parents=True, exist_ok=True)
    protocols = {row.protocol.hash: row.protocol.as_json() for row in rows}
    values = {
        "subject_id": [row.subject_id for row in rows],
        "view": pa.array([row.view for row in rows], pa.int32()),
        "method": [row.method for row in rows],
        "metric": [row.metric for row in rows],
        "value": pa.array([row.value for row in rows], pa.float64()),
        "protocol": [row.protocol.hash for row in rows],
    }
    pq.write_table(pa.table(values), folder / "rows.parquet", compression="none")
    table = _mean_rows(rows, hair, frozenset(name for method in portraits for name in (method.tracked, method.exact)))
    for method, found in portraits.items():
        if not found:
            continue
        distances = [e["identity_distance"] for e in found.values() if isinstance(e["identity_distance"], float)]
        protocols[IDENTITY_PROTOCOL.hash] = IDENTITY_PROTOCOL.as_json()
        table.append(
            {"group": "Portraits", "method": method.label, "subset": "", "metric": "identity_distance",
             "value": mean(distances), "n": len(distances), "protocol": IDENTITY_PROTOCOL.hash}
        )  # fmt: skip
    write_json(folder / "table.json", table)
    write_json(folder / "protocols.json", protocols)


def _mean_rows(
    rows: Sequence[Measured], hair: Mapping[str, str], of_avatars: frozenset[str]
) -> list[dict[str, object]]:
    """Return the mean over identities for each method, hair length (of avatars) and metric; n counts identities."""
    groups: dict[tuple[str, str, str, str, str], dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for row in rows:
        is_avatar = row.method in of_avatars
        group = "Avatars on unseen views and expressions" if is_avatar else "Held-out people"
        subset = f"{hair[row.subject_id]} hair" if is_avatar else ""
        groups[group, row.method, subset, row.metric, row.protocol.hash][row.subject_id].append(row.value)
    return [
        {"group": group, "method": method, "subset": subset, "metric": metric, "protocol": protocol,
         "n": len(subjects), "value": mean(sum(v) / len(v) for v in subjects.values())}
        for (group, method, subset, metric, protocol), subjects in sorted(groups.items())
    ]  # fmt: skip
