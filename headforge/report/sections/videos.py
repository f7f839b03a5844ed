"""Videos: the fitted head over each video, residuals and rejected frames."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import torch

from headforge.geometry.rotations import axis_angle_to_matrix
from headforge.report import plots
from headforge.report.blocks import Block, Chart, Charts, Gallery, Note, Picture, Section, Table, Video
from headforge.report.inputs import Run, VideoFolder
from headforge.types import Track

MAX_FILM_BYTES = 12_000_000
"""A larger video is replaced by its sheet of frames."""
N_VIDEOS = 4


def videos_section(run: Run) -> Section:
    """Return overlay film, sheet of frames, curves and rejected frames of up to 4 videos."""
    lead = "Films of a person: one shape and one focal length, pose and expression frame by frame, all solved together."
    blocks: list[Block] = []
    for video in run.videos[:N_VIDEOS]:
        blocks.extend(video_blocks(video))
    if len(run.videos) > N_VIDEOS:
        blocks.append(Note(f"Not shown: {', '.join(video.name for video in run.videos[N_VIDEOS:])}."))
    return Section("videos", "Videos", lead, tuple(blocks))


def video_blocks(video: VideoFolder) -> list[Block]:
    """Return the blocks of one video."""
    tracks = [track for _, track in sorted(video.tracks().items())]
    blocks: list[Block] = [Note(_summary(video))]
    film = video.overlay
    if film is not None and len(film) <= MAX_FILM_BYTES:
        shown = Video(film, f"fitted head over {video.name}", "red border: rejected")
        blocks.append(Gallery((shown,), "Mesh, landmarks as detected (red) and as fitted (green).", "large"))
    elif film is not None:
        blocks.append(Note(f"The film is {len(film) / 1e6:.0f} MB: see videos/{video.name}/overlay.mp4 of the tracks."))
    strip = video.picture("strip.png")
    if strip is not None:
        blocks.append(
            Gallery((Picture(strip, f"frames of {video.name}", "in even steps", lossless=False),), "", "large")
        )
    good = [track for track in tracks if track.status == "ok"]
    if good:
        blocks.append(Charts(_charts(good)))
    reasons = Counter(track.reason for track in tracks if track.status != "ok")
    if reasons:
        rows = tuple((reason, str(count)) for reason, count in reasons.most_common(8))
        blocks.append(Table(("rejected frames", "count"), rows))
    return blocks


def _summary(video: VideoFolder) -> str:
    about = video.info
    residual = about.get("residual_eye_distance")
    parts = [
        f"{video.name}: {about.get('n_ok')} of {about.get('n_frames')} frames tracked",
        f"{about.get('n_followed')} of them where the detector found nothing" if about.get("n_followed") else "",
        f"residual {100 * residual:.1f} % of the outer-eye distance" if isinstance(residual, float) else "",
    ]
    return ", ".join(part for part in parts if part) + "."


def _charts(tracks: list[Track]) -> tuple[Chart, ...]:
    frames = [float(track.view) for track in tracks]
    rotation = axis_angle_to_matrix(torch.stack([track.params.rotation for track in tracks]))
    facing = rotation[..., 2].numpy()
    yaw = np.degrees(np.arctan2(facing[:, 0], facing[:, 2])).tolist()
    pitch = np.degrees(np.arcsin(facing[:, 1].clip(-1, 1))).tolist()
    jaw = [math.degrees(float(track.params.jaw[0])) for track in tracks]
    pose = [plots.Series("yaw", frames, yaw), plots.Series("pitch", frames, pitch), plots.Series("jaw", frames, jaw)]
    residual = [plots.Series("residual", frames, [track.residual_px for track in tracks])]
    return (
        Chart(plots.line_chart(pose, "frame", "degrees"), "Head and jaw"),
        Chart(plots.line_chart(residual, "frame", "px, RMS"), "Landmark residual"),
    )
