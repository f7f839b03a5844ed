"""Track quality: errors against the exact values of a synthetic subject, and means over subjects."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch

from headforge.flame.model import HeadModel, pose_head
from headforge.geometry.cameras import yaw_pitch_deg
from headforge.geometry.meshes import similarity_alignment
from headforge.types import Camera, HeadParams, Track

N_COMPARED_VIEWS = 4
"""Views per subject whose vertices are compared with the exact ones."""
MEAN_ERRORS = ("noise_floor_px", "vertex_mm", "focal_pct", "yaw_deg", "pitch_deg")


def count_views(tracks: Sequence[Track]) -> dict[str, float]:
    """Return the numbers of accepted and of all views, which need no exact values."""
    return {"n_ok": sum(track.status == "ok" for track in tracks), "n_views": len(tracks)}


def compare_tracks(
    head: HeadModel, tracks: Sequence[Track], exact_camera: Camera, exact_params: HeadParams
) -> dict[str, float]:
    """Return the errors of one subject's accepted tracks against the exact cameras [V] and parameters [V]."""
    ok = [row for row, track in enumerate(tracks) if track.status == "ok"]
    camera = Camera.stack([tracks[row].camera for row in ok])
    exact = exact_camera[torch.tensor(ok, device=exact_camera.K.device)]
    angles = [a - b for a, b in zip(yaw_pitch_deg(camera), yaw_pitch_deg(exact), strict=True)]
    compared = ok[:: max(1, len(ok) // N_COMPARED_VIEWS)][:N_COMPARED_VIEWS]
    return count_views(tracks) | {
        "vertex_mm": vertex_error_mm(head, [tracks[row].params for row in compared], exact_params, compared),
        "focal_pct": 100 * float(camera.K[0, 0, 0] / exact.K[0, 0, 0] - 1),
        "yaw_deg": float(((angles[0] + 180) % 360 - 180).abs().mean()),
        "pitch_deg": float(angles[1].abs().mean()),
    }


def vertex_error_mm(head: HeadModel, tracked: Sequence[HeadParams], exact: HeadParams, rows: Sequence[int]) -> float:
    """Return the mean distance of face-region vertices after similarity alignment, over the given rows of `exact`."""
    region = head.regions["face"]
    ours = pose_head(head, HeadParams.stack(tracked))[:, region].double()
    truth = pose_head(head, exact[list(rows)])[:, region].double()
    errors = []
    for source, target in zip(ours, truth, strict=True):
        scale, rotation, translation = similarity_alignment(source, target)
        errors.append(float((scale * source @ rotation.T + translation - target).norm(dim=-1).mean()))
    return 1000 * sum(errors) / len(errors)


def summarize_quality(rows: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Return the means over subjects; errors only over those with exact values."""
    good = [row for row in rows if row["n_ok"]]
    n_ok = int(sum(row["n_ok"] for row in rows))
    summary: dict[str, float] = {
        "n_subjects": len(rows),
        "n_ok": n_ok,
        "n_rejected": int(sum(row["n_views"] for row in rows)) - n_ok,
    }
    measured = [row for row in good if "square_sum_px2" in row]
    if measured:
        n_coordinates = sum(row["n_coordinates"] for row in measured)
        summary["rms_px"] = math.sqrt(sum(row["square_sum_px2"] for row in measured) / n_coordinates)
    for name in MEAN_ERRORS:
        values = [abs(row[name]) for row in good if name in row]
        if values:
            summary[name] = sum(values) / len(values)
    errors = [row["vertex_mm"] for row in good if "vertex_mm" in row]
    if errors:
        summary["vertex_mm_max"] = max(errors)
    return summary
