"""MP4 films that every browser plays."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from headforge.errors import MissingExtraError, ShapeError
from headforge.store.files import atomic_path

CRF = 14
"""libx264's constant rate factor: visually lossless."""
BITEXACT = ["-crf", str(CRF), "-threads", "1", "-fflags", "+bitexact", "-flags:v", "+bitexact", "-map_metadata", "-1"]


def write_video(path: Path, frames: np.ndarray, fps: float) -> None:
    """Write [T, H, W, 3] uint8 frames as H.264 (yuv420p), whole or not at all; equal frames give equal bytes.

    Odd sizes get one more row or column, a copy of the last one, as yuv420p needs even ones.
    """
    try:
        import imageio_ffmpeg
    except ImportError as error:
        raise MissingExtraError("imageio-ffmpeg", "video", "writing a video") from error
    if frames.ndim != 4 or frames.shape[-1] != 3 or frames.dtype != np.uint8 or not len(frames):
        raise ShapeError(f"frames ({frames.dtype})", "[T, H, W, 3] uint8 with T > 0", frames.shape)
    height, width = frames.shape[1:3]
    even = np.pad(frames, ((0, 0), (0, height % 2), (0, width % 2), (0, 0)), mode="edge")
    with atomic_path(path) as temporary:
        writer = imageio_ffmpeg.write_frames(
            str(temporary),
            (even.shape[2], even.shape[1]),
            fps=fps,  # pyright: ignore[reportArgumentType]  ffmpeg takes fractions; the stub says int
            codec="libx264",
            pix_fmt_out="yuv420p",
            quality=None,  # pyright: ignore[reportArgumentType]  None leaves the choice to -crf
            macro_block_size=1,
            ffmpeg_log_level="error",
            output_params=[*BITEXACT, "-movflags", "+faststart"],
        )
        writer.send(None)
        try:
            for frame in even:
                writer.send(np.ascontiguousarray(frame))
        finally:
            writer.close()
