from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from headforge.errors import ShapeError
from headforge.store.files import sha256_file
from headforge.store.video import write_video

imageio_ffmpeg = pytest.importorskip("imageio_ffmpeg")


def frames(n: int, height: int, width: int) -> np.ndarray:
    y, x = np.mgrid[:height, :width]
    ramp = [np.stack([x * 3, y * 3, np.full_like(x, 20 * t)], -1) for t in range(n)]
    return np.array(ramp).clip(0, 255).astype(np.uint8)


def test_a_film_shows_its_frames_and_is_the_same_each_time(tmp_path: Path) -> None:
    film = frames(6, 48, 64)
    write_video(tmp_path / "a.mp4", film, fps=10)
    write_video(tmp_path / "b.mp4", film, fps=10)
    assert sha256_file(tmp_path / "a.mp4") == sha256_file(tmp_path / "b.mp4")
    reader = imageio_ffmpeg.read_frames(str(tmp_path / "a.mp4"))
    meta = next(reader)
    decoded = [np.frombuffer(frame, np.uint8).reshape(48, 64, 3) for frame in reader]
    assert (meta["size"], meta["fps"], len(decoded)) == ((64, 48), 10, 6)
    assert np.abs(np.array(decoded).astype(int) - film).mean() < 6


def test_odd_sizes_are_padded(tmp_path: Path) -> None:
    write_video(tmp_path / "a.mp4", frames(2, 33, 47), fps=5)
    reader = imageio_ffmpeg.read_frames(str(tmp_path / "a.mp4"))
    assert next(reader)["size"] == (48, 34)
    reader.close()


def test_frames_of_another_kind_leave_no_file(tmp_path: Path) -> None:
    for wrong in (frames(2, 8, 8).astype(np.float32), frames(1, 8, 8)[0], frames(1, 8, 8)[:0]):
        with pytest.raises(ShapeError):
            write_video(tmp_path / "a.mp4", wrong, fps=5)
    assert list(tmp_path.iterdir()) == []
