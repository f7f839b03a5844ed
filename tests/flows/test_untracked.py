"""Subjects that the tracker lost as a whole."""

from __future__ import annotations

import torch

from flows.track import untracked
from headforge.types import Camera, HeadParams, Track


def _track(subject: str, view: int, status: str) -> Track:
    camera = Camera(torch.eye(3), torch.eye(4), 8, 8)
    return Track(
        subject, view, status, "" if status == "ok" else f"reason {view}", camera, HeadParams.unknown(), 0.0, 0
    )


def test_a_subject_is_lost_when_no_view_is_left() -> None:
    tracks = [
        *(_track("a", view, "rejected") for view in range(2)),
        _track("b", 0, "rejected"),
        _track("b", 1, "ok"),
        _track("c", 0, "ok"),
    ]
    (lost,) = untracked(tracks)
    assert (lost["item"], lost["gate"], lost["reason"]) == ("a", "tracking", "reason 0") and lost["help"]
