from __future__ import annotations

import wave
from pathlib import Path

import numpy as np
import pytest

from headforge.errors import InputError, ShapeError
from headforge.store.files import sha256_file
from headforge.store.video import open_video, write_frames, write_video

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


def test_a_film_is_read_frame_by_frame_and_as_often_as_wanted(tmp_path: Path) -> None:
    film = frames(6, 48, 64)
    write_frames(tmp_path / "a.mp4", iter(film), fps=10)
    opened = open_video(tmp_path / "a.mp4", 1000)
    assert (opened.width, opened.height, opened.fps, opened.n_frames_estimate) == (64, 48, 10, 6)
    for _ in range(2):
        assert np.abs(np.array(list(opened.frames())).astype(int) - film).mean() < 6
    partial = opened.frames()
    next(partial)
    partial.close()


def test_large_frames_are_scaled_down(tmp_path: Path) -> None:
    write_video(tmp_path / "a.mp4", frames(2, 48, 64), fps=5)
    opened = open_video(tmp_path / "a.mp4", 32)
    assert [frame.shape for frame in opened.frames()] == [(24, 32, 3)] * 2


def test_a_film_that_is_cut_off_ends_with_its_last_whole_frame(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    write_video(path, np.random.default_rng(0).integers(0, 255, (20, 64, 64, 3), dtype=np.uint8), fps=5)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert 0 < len(list(open_video(path, 100).frames())) < 20


@pytest.mark.parametrize("content", [b"", b"no film", b"\x00\x00\x00\x18ftypmp42" + bytes(200)])
def test_what_is_no_film_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.mp4"
    path.write_bytes(content)
    with pytest.raises(InputError) as error:
        open_video(path, 100)
    assert "help:" in str(error.value)


def test_a_missing_film_and_a_film_without_pictures_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError):
        open_video(tmp_path / "none.mp4", 100)
    with wave.open(str(tmp_path / "sound.wav"), "wb") as sound:
        sound.setparams((1, 2, 8000, 0, "NONE", ""))
        sound.writeframes(bytes(3200))
    with pytest.raises(InputError):
        open_video(tmp_path / "sound.wav", 100)


def test_a_playlist_does_not_reach_other_files(tmp_path: Path) -> None:
    write_video(tmp_path / "secret.mp4", frames(2, 48, 64), fps=5)
    (tmp_path / "list.mp4").write_text("ffconcat version 1.0\nfile secret.mp4\n")
    with pytest.raises(InputError):
        open_video(tmp_path / "list.mp4", 100)


def test_frames_of_different_sizes_leave_no_file(tmp_path: Path) -> None:
    with pytest.raises(ShapeError):
        write_frames(tmp_path / "a.mp4", iter([*frames(1, 48, 64), *frames(1, 32, 64)]), fps=5)
    assert list(tmp_path.iterdir()) == []
