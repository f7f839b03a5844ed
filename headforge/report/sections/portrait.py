"""Portraits: from one photo to an avatar, step by step."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch

from headforge.avatar.output import frontal_params, show_camera
from headforge.avatar.render import render_avatar, to_uint8
from headforge.avatar.rig import load_rigged
from headforge.errors import DataError
from headforge.flame.model import HeadModel
from headforge.report import pictures as draw
from headforge.report.blocks import Block, Gallery, Note, Picture, Section, Video
from headforge.report.inputs import AvatarFolder, PortraitFolder, Run, read_picture
from headforge.report.sections.dataset import most_frontal, spread
from headforge.report.tables import rejects_table
from headforge.store.dataset.shards import read_shard_samples

AVATAR_YAWS_DEG = (-60.0, -30.0, 0.0, 30.0, 60.0)
AVATAR_SIZE = 192
HERO_SIZE = 512
SHOWN_SIZE = 320
"""Side of the photo, the matte and the overlay in pixels."""
N_GENERATED = 9
PITCH_TOLERANCE_DEG = 5.0
"""Views whose elevations differ by less count as one row."""


def portrait_section(run: Run, n_portraits: int, identity: Mapping[str, str]) -> Section:
    """Return photo, matte, fitted mesh, generated views and avatar of each portrait. `identity`: a sentence by name."""
    lead = "One photo of a real person: cut out, fitted with the head model, drawn from other sides, made an avatar."
    blocks: list[Block] = []
    if not run.portraits:
        blocks.append(Note("This run has no portraits.", "missing"))
    for portrait in run.portraits[:n_portraits]:
        blocks.extend(portrait_blocks(run, portrait, identity.get(portrait.name, "")))
    if len(run.portraits) > n_portraits:
        others = ", ".join(portrait.name for portrait in run.portraits[n_portraits:])
        blocks.append(Note(f"Not shown: {others}."))
    if run.portrait_rejects:
        blocks.append(rejects_table(run.portrait_rejects, "Rejected portraits"))
    return Section("portrait", "Portrait", lead, tuple(blocks))


def portrait_blocks(run: Run, portrait: PortraitFolder, identity: str) -> list[Block]:
    """Return the blocks of one portrait."""
    blocks: list[Block] = [Note(f"{portrait.name}{identity and f': {identity}'}")]
    blocks.append(Gallery(tuple(_steps(portrait)), "", "large"))
    generated = generated_views(run, portrait.name)
    if generated:
        blocks.append(Gallery(tuple(generated), "Views of this person drawn by the control model (yaw).", "small"))
    folders = run.portrait_avatars(portrait.name)
    if not folders:
        blocks.append(Note(f"There is no avatar of {portrait.name}.", "missing"))
    for folder in folders:
        if run.head is None:
            break
        pictures: list[Picture | Video] = list(avatar_views(run.head, folder))
        if folder.turntable is not None:
            pictures.append(Video(folder.turntable, f"turntable of {portrait.name}", "turntable"))
        which = f"The avatar by {folder.method.name}" if len(folders) > 1 else "The avatar"
        blocks.append(Gallery(tuple(pictures), f"{which} from several sides.", "medium"))
    return blocks


def generated_views(run: Run, name: str) -> list[Picture]:
    """Return pictures the control model drew of a portrait, the ones level with its eyes, by yaw; empty if there are
    none.
    """
    samples = [s for path in _view_files(run, name) for s in read_shard_samples(path)]
    level_deg = min((s.pitch_deg for s in samples), key=abs, default=0.0)
    at_level = sorted(
        (s for s in samples if abs(s.pitch_deg - level_deg) < PITCH_TOLERANCE_DEG), key=lambda s: s.yaw_deg
    )
    return [
        Picture(s.image, f"drawn view {s.view} of {name}", f"{s.yaw_deg:+.0f}°") for s in spread(at_level, N_GENERATED)
    ]


def avatar_views(head: HeadModel, folder: AvatarFolder) -> list[Picture]:
    """Return the avatar from `AVATAR_YAWS_DEG`, in the subject's own expression."""
    rigged, own = load_rigged(folder.path / "avatar.safetensors")
    if rigged.model_id != head.model_id:
        raise DataError(
            folder.path,
            f"the avatar '{folder.name}' belongs to the head model '{rigged.model_id}', not to '{head.model_id}'.",
            "fit the avatar again with this run's head model.",
        )
    pictures = []
    for yaw_deg in AVATAR_YAWS_DEG:
        with torch.no_grad():
            image = to_uint8(
                render_avatar(rigged, head, frontal_params(own), show_camera(AVATAR_SIZE, yaw_deg))
            ).numpy()
        pictures.append(
            Picture(image, f"avatar {folder.name} at {yaw_deg:+.0f} degrees", f"{yaw_deg:+.0f}°", lossless=False)
        )
    return pictures


def _steps(portrait: PortraitFolder) -> list[Picture]:
    photo, mask = portrait.picture("photo.png"), portrait.picture("mask.png")
    steps: list[tuple[np.ndarray | None, str]] = [
        (portrait.picture("original_crop.png"), "photo"),
        (None if photo is None or mask is None else draw.over_checkerboard(photo, _gray(mask)), "cut out"),
        (portrait.picture("overlay.png"), "fitted head"),
    ]
    if steps[0][0] is None:
        steps[0] = (photo, "photo")
    return [Picture(_shown(image), f"{title} of {portrait.name}", title, lossless=False)
            for image, title in steps if image is not None]  # fmt: skip


def _shown(image: np.ndarray) -> np.ndarray:
    colour = np.repeat(image[..., None], 3, axis=-1) if image.ndim == 2 else image
    return draw.shrink(colour, SHOWN_SIZE)


def _gray(mask: np.ndarray) -> np.ndarray:
    return mask if mask.ndim == 2 else mask[..., 0]


def _view_files(run: Run, name: str) -> list[Path]:
    """Return the folder of a portrait's generated views."""
    folder = run.portrait_avatar(name)
    places = [folder.path / "views.parquet"] if folder is not None else []
    places += [model / "portraits" / name / "views.parquet" for model in run.models.values()]
    return [path for path in places if path.is_file()][:1]


def hero_pictures(run: Run) -> tuple[Picture | Video, ...]:
    """Return a picture, the avatar from the front and its turntable: of the first portrait with an avatar, else a
    subject.
    """
    for portrait in run.portraits:
        folder = run.portrait_avatar(portrait.name)
        photo = portrait.picture("original_crop.png")
        photo = portrait.picture("photo.png") if photo is None else photo
        if folder is not None and photo is not None:
            return (_hero(photo, f"photo of {portrait.name}", "one photo"), *_hero_avatar(folder))
    subjects = run.subject_avatars()
    if run.dataset is None or not subjects:
        return ()
    name = subjects[0].name
    if name not in run.dataset.subject_ids():
        return _hero_avatar(subjects[0])
    image = run.dataset.sample(name, most_frontal(run.dataset, name)).image
    return (_hero(image, f"picture of subject {name}", "a person held out from training"), *_hero_avatar(subjects[0]))


def _hero_avatar(folder: AvatarFolder) -> tuple[Picture | Video, ...]:
    items: list[Picture | Video] = []
    frontal = read_picture(folder.path / "frontal.png")
    if frontal is not None:
        items.append(_hero(frontal, f"avatar of {folder.name}", "the avatar"))
    if folder.turntable is not None:
        items.append(Video(folder.turntable, f"turntable of {folder.name}", "from all sides, and moving"))
    return tuple(items)


def _hero(image: np.ndarray, alt: str, note: str) -> Picture:
    return Picture(draw.shrink(image, HERO_SIZE), alt, note, lossless=False)
