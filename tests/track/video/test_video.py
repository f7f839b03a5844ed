"""The stage function on a small film with a detector stub that returns the ground truth."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from headforge.errors import InputError, Rejected
from headforge.progress import SilentProgress
from headforge.store.dataset.tables import read_tracks
from headforge.store.files import sha256_file
from headforge.store.video import open_video, write_frames
from headforge.track.video.config import VideoConfig
from headforge.track.video.video import track_video
from tests.heads import tiny_head
from tests.track.films import SIZE, make_film

pytest.importorskip("imageio_ffmpeg")
N_FRAMES = 12
POINTS = make_film(tiny_head(), n_frames=N_FRAMES, noise_px=0.5).landmarks().points
CONFIG = VideoConfig(n_iterations=8, overlay_size=96)


@dataclass(frozen=True)
class Face:
    box: tuple[float, float, float, float]
    landmarks: np.ndarray
    score: float = 1.0


@dataclass
class Faces:
    """Gives the film's landmarks in order, none at the frames `blind`."""

    blind: Sequence[int] = ()
    calls: int = 0

    def detect_landmarks(self, image: np.ndarray) -> Sequence[Face]:
        number, self.calls = self.calls, self.calls + 1
        return [] if number in self.blind else [Face((80, 80, 180, 180), POINTS[number])]

    def landmarks_in(self, image: np.ndarray, box: Sequence[float]) -> Face | None:
        return None


@dataclass
class Heard(SilentProgress):
    total: int = 0
    done: list[str] = field(default_factory=list)

    def start(self, n_items: int, unit: str) -> None:
        assert unit == "frame"
        self.total = n_items

    def item_done(self, item: str, n: int = 1) -> None:
        self.done.append(item)


@pytest.fixture
def film(tmp_path: Path) -> Path:
    path = tmp_path / "film.mp4"
    ramp = np.linspace(0, 200, SIZE).astype(np.uint8)
    write_frames(path, (np.full((SIZE, SIZE, 3), 5 * t, np.uint8) + ramp[:, None] for t in range(N_FRAMES)), 25)
    return path


def test_a_film_becomes_a_table_landmarks_and_pictures(film: Path, tmp_path: Path) -> None:
    heard = Heard()
    summary = track_video(CONFIG, film, "someone", tiny_head(), Faces(blind=[4]), tmp_path / "out", heard)
    assert heard.total == N_FRAMES and heard.done[-1] == "someone, frame 11" and len(heard.done) == N_FRAMES
    tracks = read_tracks(tmp_path / "out" / "tracks.parquet")
    assert list(tracks) == [("someone", row) for row in range(N_FRAMES)]
    assert [row for (_, row), track in tracks.items() if track.status != "ok"] == [4]
    assert tracks["someone", 4].reason == "no face was found" and np.isnan(tracks["someone", 4].residual_px)
    assert len({track.params.shape.numpy().tobytes() for track in tracks.values()}) == 1
    assert (summary["n_ok"], summary["n_rejected"], summary["n_detected"]) == (11, 1, 11)
    assert 0 < float(str(summary["residual_eye_distance"])) < 0.05
    assert json.loads((tmp_path / "out" / "video.json").read_text())["model_id"] == tiny_head().model_id
    stored = np.load(tmp_path / "out" / "landmarks.npz")
    assert stored["face_landmark_2d"].shape == (N_FRAMES, 68, 3) and stored["bounding_box"].shape == (N_FRAMES, 4)
    assert (stored["face_landmark_2d"][4, :, :2] == -1).all() and (stored["face_landmark_2d"][4, :, 2] == 0).all()
    assert 0 < stored["face_landmark_2d"][0, :, :2].min() and stored["face_landmark_2d"][0, :, :2].max() < 1
    frames = list(open_video(tmp_path / "out" / "overlay.mp4", 1000).frames())
    assert len(frames) == N_FRAMES and frames[0].shape == (96, 96, 3)
    red = [float(frame[:2].astype(int)[..., 0].mean() - frame[:2].astype(int)[..., 2].mean()) for frame in frames]
    assert [row for row, value in enumerate(red) if value > 60] == [4]
    assert np.asarray(Image.open(tmp_path / "out" / "strip.png")).shape == (192, 384, 3)


def test_the_same_film_gives_the_same_bytes(film: Path, tmp_path: Path) -> None:
    for name in ("a", "b"):
        track_video(CONFIG, film, "someone", tiny_head(), Faces(), tmp_path / name)
    for file in ("tracks.parquet", "landmarks.npz", "video.json", "overlay.mp4", "strip.png"):
        assert sha256_file(tmp_path / "a" / file) == sha256_file(tmp_path / "b" / file), file


def test_a_film_of_which_too_much_fails_is_rejected_and_nothing_is_written(film: Path, tmp_path: Path) -> None:
    for blind in (range(4), range(N_FRAMES)):
        with pytest.raises(Rejected) as error:
            track_video(CONFIG, film, "someone", tiny_head(), Faces(blind=blind), tmp_path / "out")
        assert error.value.gate == "video_frames" and error.value.value == len(blind) / N_FRAMES
        assert f"{len(blind)} of 12 frames" in error.value.reason and "no face was found" in error.value.reason
    assert not (tmp_path / "out").exists()


def test_a_film_that_is_too_long_is_rejected_before_anything_is_detected(film: Path, tmp_path: Path) -> None:
    faces = Faces()
    with pytest.raises(Rejected) as error:
        track_video(dataclasses.replace(CONFIG, max_frames=5), film, "x", tiny_head(), faces, tmp_path / "out")
    assert error.value.gate == "video_length" and faces.calls == 0


def test_what_is_no_film_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "film.mp4"
    path.write_bytes(b"\x00" * 100)
    with pytest.raises(InputError):
        track_video(CONFIG, path, "x", tiny_head(), Faces(), tmp_path / "out")


def test_given_landmarks_take_the_place_of_a_detector(film: Path, tmp_path: Path) -> None:
    points = POINTS.copy()
    points[3], points[7, :9] = np.nan, -1
    np.savez(tmp_path / "given.npz", landmarks=points)
    faces = Faces()
    summary = track_video(
        CONFIG, film, "someone", tiny_head(), faces, tmp_path / "out", landmarks=tmp_path / "given.npz"
    )
    assert faces.calls == 0 and (summary["n_ok"], summary["n_detected"]) == (N_FRAMES - 1, 0)
    tracks = read_tracks(tmp_path / "out" / "tracks.parquet")
    assert "no landmarks of this frame" in tracks["someone", 3].reason and tracks["someone", 7].n_landmarks == 59
    np.savez(tmp_path / "short.npz", landmarks=points[:5])
    with pytest.raises(InputError, match="5 frames, the video has 12"):
        track_video(CONFIG, film, "x", tiny_head(), faces, tmp_path / "x", landmarks=tmp_path / "short.npz")
