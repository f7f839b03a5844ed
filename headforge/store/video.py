"""Writing MP4 videos that browsers play, and reading frames of users' videos."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from headforge.errors import InputError, MissingExtraError, ShapeError
from headforge.store.files import atomic_path

CRF = 14
"""libx264's constant rate factor: visually lossless."""
BITEXACT = ["-threads", "1", "-fflags", "+bitexact", "-flags:v", "+bitexact", "-map_metadata", "-1"]
CONTAINERS = "mov,matroska,avi,mpegts,mpeg,flv,ogg,gif,asf,ivf,h264,hevc,m4v,mjpeg,apng"
"""Demuxers of self-contained files; a playlist could refer to any file on this machine."""
READING = ["-protocol_whitelist", "file", "-format_whitelist", CONTAINERS]
MAX_VIDEO_PIXELS = 40_000_000
"""Pixels of one frame; 8K has 33 million."""
FALLBACK_FPS = 25.0
"""Frame rate where the file states none."""


def write_video(path: Path, frames: np.ndarray, fps: float) -> None:
    """Write [T, H, W, 3] uint8 frames as H.264 (yuv420p), atomically; equal frames give equal bytes.

    Odd sizes are padded by a copy of the last row or column, as yuv420p needs even sizes.
    """
    if frames.ndim != 4 or frames.shape[-1] != 3 or frames.dtype != np.uint8 or not len(frames):
        raise ShapeError(f"frames ({frames.dtype})", "[T, H, W, 3] uint8 with T > 0", frames.shape)
    write_frames(path, frames, fps)


def write_frames(path: Path, frames: Iterable[np.ndarray], fps: float, crf: int = CRF) -> None:
    """Write an iterable of frames [H, W, 3] uint8 as `write_video` does, with one frame in memory at a time."""
    imageio_ffmpeg = _imageio_ffmpeg("writing a video")
    rest = iter(frames)
    first = next(rest, None)
    if first is None:
        raise ShapeError("frames", "[T, H, W, 3] uint8 with T > 0", (0,))
    with atomic_path(path) as temporary:
        writer = imageio_ffmpeg.write_frames(
            str(temporary),
            (first.shape[1] + first.shape[1] % 2, first.shape[0] + first.shape[0] % 2),
            fps=fps,
            codec="libx264",
            pix_fmt_out="yuv420p",
            quality=None,  # leaves the choice to -crf
            macro_block_size=1,
            ffmpeg_log_level="error",
            output_params=["-crf", str(crf), *BITEXACT, "-movflags", "+faststart"],
        )
        writer.send(None)
        try:
            for frame in itertools.chain([first], rest):
                if frame.shape != first.shape or frame.dtype != np.uint8:
                    raise ShapeError(f"frame ({frame.dtype})", f"{first.shape} uint8", frame.shape)
                writer.send(np.ascontiguousarray(_even(frame)))
        finally:
            writer.close()


def _even(frame: np.ndarray) -> np.ndarray:
    height, width = frame.shape[:2]
    return np.pad(frame, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")


@dataclass(frozen=True)
class VideoFile:
    """A video that can be read from the start repeatedly, one frame at a time."""

    path: Path
    width: int
    height: int
    """Height of the delivered, upright frames."""
    fps: float
    n_frames_estimate: int
    """Duration times frame rate; the file may hold a few more or fewer."""

    def frames(self) -> Iterator[np.ndarray]:
        """Yield frames [H, W, 3] uint8 at a constant rate. A truncated video ends with its last complete frame."""
        shape = (self.height, self.width, 3)
        with contextlib.closing(_decoded(self.path, (self.width, self.height))) as decoded:
            next(decoded)
            while (data := _next_frame(decoded)) is not None:
                yield np.frombuffer(data, np.uint8).reshape(shape)


def open_video(path: Path, max_side_px: int) -> VideoFile:
    """Open a video and check its first frame; frames with a longer side than `max_side_px` are scaled down.

    Raises InputError if it is missing, not a video, damaged at the start, without frames, or too large to decode.
    """
    if not path.is_file():
        raise InputError(path, f"{path} is no file.", "check the path of the video.")
    with contextlib.closing(_decoded(path, None)) as decoded:
        try:
            about: dict[str, Any] = next(decoded)
            width, height = about["size"]
            if width * height > MAX_VIDEO_PIXELS:
                limit = MAX_VIDEO_PIXELS / 1e6
                raise InputError(path, f"{path} has frames of {width} x {height} px, more than {limit:.0f} megapixels.",
                                 "scale it down first.")  # fmt: skip
            first = _next_frame(decoded)
        except (OSError, RuntimeError, LookupError, ValueError, AttributeError, StopIteration) as error:
            raise _unreadable(path) from error
    if first is None:
        raise InputError(path, f"{path} holds no frames.", "give a video with pictures in it.")
    scale = min(1.0, max_side_px / max(width, height))
    fps = about.get("fps") or FALLBACK_FPS
    n_frames = max(1, round((about.get("duration") or 0) * fps))
    return VideoFile(path, max(2, round(scale * width)), max(2, round(scale * height)), float(fps), n_frames)


def _unreadable(path: Path) -> InputError:
    return InputError(path, f"{path} can't be read as a video.", "save it as MP4 (H.264) and give that file.")


def _next_frame(decoded: Iterator[Any]) -> bytes | None:
    try:
        return next(decoded, None)
    except RuntimeError:  # the file ends in the middle of a frame
        return None


def _decoded(path: Path, size: tuple[int, int] | None) -> Generator[Any, None, None]:
    """Return imageio-ffmpeg's generator: a metadata dictionary, then the bytes of each frame."""
    imageio_ffmpeg = _imageio_ffmpeg("reading a video")
    scaled = [] if size is None else ["-s", f"{size[0]}x{size[1]}"]
    arguments = [*READING, "-threads", "1"]
    return imageio_ffmpeg.read_frames(str(path.resolve()), input_params=arguments, output_params=["-an", *scaled])


def _imageio_ffmpeg(purpose: str) -> Any:
    try:
        import imageio_ffmpeg
    except ImportError as error:
        raise MissingExtraError("imageio-ffmpeg", "video", purpose) from error
    return imageio_ffmpeg
