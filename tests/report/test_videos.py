"""The section on videos: there only if there are any."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from headforge.report.blocks import Charts, Gallery, Note, Picture, Table, Video
from headforge.report.config import ReportConfig
from headforge.report.inputs import read_run
from headforge.report.report import compose_page
from headforge.report.sections.videos import videos_section
from headforge.store.dataset.tables import write_tracks
from headforge.store.images import encode_png
from headforge.types import Camera, Track
from tests.heads import tiny_head


@pytest.fixture
def tracked(tmp_path: Path) -> Path:
    folder = tmp_path / "tracked" / "videos" / "talk"
    folder.mkdir(parents=True)
    head, camera = tiny_head(), Camera(torch.eye(3), torch.eye(4), 64, 64)
    params = head.neutral().replace(rotation=torch.tensor([0.0, 0.3, 0.0]))
    reasons = ["", "", "no face was found", ""]
    tracks = [
        Track("talk", row, "rejected" if reason else "ok", reason, camera, params, 0.5, 68)
        for row, reason in enumerate(reasons)
    ]
    write_tracks(folder / "tracks.parquet", tracks)
    about = {"n_frames": 4, "n_ok": 3, "n_followed": 1, "residual_eye_distance": 0.031}
    (folder / "video.json").write_text(json.dumps(about))
    (folder / "overlay.mp4").write_bytes(b"film")
    (folder / "strip.png").write_bytes(encode_png(np.zeros((8, 16, 3), np.uint8)))
    return tmp_path / "tracked"


def test_a_video_is_shown_with_its_film_frames_curves_and_rejects(tracked: Path) -> None:
    run = read_run(None, tracked, None, None, None)
    section = videos_section(run)
    notes = [block.text for block in section.blocks if isinstance(block, Note)]
    expected = "talk: 3 of 4 frames tracked, 1 of them where the detector found nothing, residual 3.1 %"
    assert notes[0].startswith(expected)
    items = [item for block in section.blocks if isinstance(block, Gallery) for item in block.items]
    assert [type(item) for item in items] == [Video, Picture]
    assert any(isinstance(block, Charts) and "yaw" in block.charts[0].svg for block in section.blocks)
    tables = [block for block in section.blocks if isinstance(block, Table)]
    assert tables[0].rows == (("no face was found", "1"),)


def test_a_film_that_is_too_large_is_named_and_not_embedded(tracked: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("headforge.report.sections.videos.MAX_FILM_BYTES", 3)
    section = videos_section(read_run(None, tracked, None, None, None))
    assert not any(isinstance(item, Video) for b in section.blocks if isinstance(b, Gallery) for item in b.items)
    assert any(isinstance(block, Note) and "overlay.mp4" in block.text for block in section.blocks)


def test_pages_without_videos_do_not_speak_of_them(tracked: Path, tmp_path: Path) -> None:
    with_videos, without = (read_run(None, path, None, None, None) for path in (tracked, tmp_path / "nothing"))
    anchors = [section.anchor for section in compose_page(ReportConfig(), with_videos, {}, ()).sections]
    assert "videos" in anchors
    page = compose_page(ReportConfig(), without, {}, ())
    assert "videos" not in [section.anchor for section in page.sections]
    assert not any("video" in fact for fact in page.hero.facts)
