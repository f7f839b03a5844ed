"""The interactive viewer's part of the page."""

from __future__ import annotations

import torch

from headforge.avatar.output import ORBIT_DISTANCE_M, ORBIT_FOV_DEG
from headforge.avatar.rig import load_rigged
from headforge.report.blocks import Block, Note, Section, Video, ViewerBlock, ViewerEntry
from headforge.report.inputs import AvatarFolder, Run
from headforge.report.viewer import Viewpoint, pack_avatar
from headforge.report.viewer_controls import controls_for

DEFAULT_SIZE_PX = 128
"""Assumed resolution of the fit if the avatar does not record it."""


def viewer_section(run: Run, n_avatars: int, max_gaussians: int) -> Section:
    """Return the portraits' avatars, or a subject's if there are none, to turn and to animate."""
    lead = "The avatar itself, drawn by your browser. Turn it and move its face; nothing is loaded from anywhere."
    folders = [folder for p in run.portraits for folder in run.portrait_avatars(p.name)]
    folders = (folders or list(run.subject_avatars()))[:n_avatars]
    if not folders or run.head is None:
        return Section("viewer", "Viewer", lead, (Note("This run has no avatar to show.", "missing"),))
    entries = []
    notes: list[Block] = []
    for folder in folders:
        rigged, own = load_rigged(folder.path / "avatar.safetensors")
        with torch.no_grad():
            packed = pack_avatar(
                rigged, run.head, own, viewpoint_of(run, folder), controls_for(run.head, own), max_gaussians
            )
        film = folder.turntable
        fallback = None if film is None else Video(film, f"turntable of {folder.name}")
        title = f"{folder.name}, {folder.method.name}" if len(run.methods) > 1 else folder.name
        entries.append(ViewerEntry(title, packed.meta, packed.payload, fallback))
        if packed.n_left_out:
            shown = f"{packed.n_gaussians:,} of {packed.n_gaussians + packed.n_left_out:,}"
            notes.append(Note(f"{title}: {shown} Gaussians are shown, the most visible ones."))
    count = ", ".join(f"{e.name}: {e.meta['n']:,} Gaussians" for e in entries)
    notes.append(
        Note(f"{count}. Joints are skinned exactly; expressions are linear between rest and the slider's end.")
    )
    return Section("viewer", "Viewer", lead, (ViewerBlock(tuple(entries)), *notes))


def viewpoint_of(run: Run, folder: AvatarFolder) -> Viewpoint:
    """Return the show camera at the finest resolution the avatar was made for, of the fit and the turntable
    (avatar.json).

    The renderer's blur at that resolution is what hides the gaps between the Gaussians.
    """
    config = folder.info.get("config")
    fitted = "portrait_size" if folder.name in run.portrait_names else "image_size"
    found = [config.get(key) for key in (fitted, "turntable_size")] if isinstance(config, dict) else []
    sizes = [size for size in found if isinstance(size, int) and size > 0]
    return Viewpoint(ORBIT_DISTANCE_M, ORBIT_FOV_DEG, max(sizes, default=DEFAULT_SIZE_PX))
