"""Avatars of one photo."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from headforge.avatar.config import FitConfig
from headforge.avatar.hull import free_gaussians, head_space, nearest_triangles
from headforge.avatar.optimise import WeightedView, optimise
from headforge.avatar.output import Avatar, write_avatar
from headforge.avatar.portrait.colors import portrait_colors
from headforge.avatar.portrait.hair import area_average, find_hair
from headforge.avatar.rig import RiggedGaussians, concatenate
from headforge.avatar.surface import skin_gaussians
from headforge.avatar.views import BLACK, View, make_view, with_colors
from headforge.devices import resolve_device
from headforge.errors import DataError
from headforge.flame.model import HeadModel
from headforge.geometry.cameras import project
from headforge.geometry.seeding import item_seed
from headforge.progress import SILENT, Progress
from headforge.store.dataset.shards import read_shard_samples
from headforge.store.images import decode_image
from headforge.types import Camera, HeadParams

SKIN_OPACITY, SKIN_SIZE = 0.96, 0.7
"""Initially opaque: few steps follow, from one side only."""
TRUST = 0.5
"""Factor of the learning rates for a single photo: unconstrained parameters would become noise."""
FRONT_SHARE_SIZE = 0.62
REST_SHARE_SIZE = 0.55
"""Standard deviations of new hair Gaussians relative to their neighbour distance."""


@dataclass(frozen=True)
class Portrait:
    """A tracked photo: a square head crop."""

    name: str
    image: Tensor
    """[S, S, 3] in [0, 1], over white."""
    mask: Tensor
    """[S, S] in [0, 1]."""
    camera: Camera
    params: HeadParams
    """Unbatched."""

    def to(self, device: torch.device | str) -> Portrait:
        """Return the same portrait on `device`."""
        tensors = (self.image.to(device), self.mask.to(device))
        return Portrait(self.name, *tensors, self.camera.to(device), self.params.to(device))


def read_portrait(folder: Path) -> Portrait:
    """Read photo.png, mask.png and track.json of a tracked portrait; on the CPU.

    Raises DataError when one is missing or they don't fit together.
    """
    try:
        track = json.loads((folder / "track.json").read_text())
        image, mask = (decode_image((folder / name).read_bytes()) for name in ("photo.png", "mask.png"))
        camera = track["camera"]
        params = {
            name: torch.tensor(value, dtype=torch.float32, device="cpu") for name, value in track["params"].items()
        }
        K, viewmat = (torch.tensor(camera[name], device="cpu") for name in ("K", "viewmat"))
        found = Camera(K, viewmat, camera["width"], camera["height"])
    except (OSError, KeyError, ValueError) as error:
        raise DataError(folder, f"'{folder}' is not a tracked portrait: {error}.", "track the photo again.") from error
    if image.shape[:2] != mask.shape[:2] or image.shape[:2] != (found.height, found.width):
        sizes = (image.shape[:2], mask.shape[:2], (found.height, found.width))
        raise DataError(
            folder, f"photo, mask and camera of '{folder}' have the sizes {sizes}.", "track the photo again."
        )
    return Portrait(
        track["name"], _unit(image), _unit(mask), found, HeadParams(track["model_id"], **params)
    )  # fmt: skip


def _unit(image: np.ndarray) -> Tensor:
    return torch.from_numpy(image.astype(np.float32) / 255)


def fit_portrait(
    config: FitConfig,
    portrait: Path,
    views: Path,
    head: HeadModel,
    output: Path,
    progress: Progress = SILENT,
    *,
    device: str = "cpu",
) -> None:
    """Fit the avatar of a tracked photo and write its folder `output`.

    `portrait`: a folder of the photo tracker. `views`: generated pictures of the same person from many sides, a shard.
    Visible parts are coloured from the photo; the generated views colour skin visible in neither it nor its mirror
    image. The computation runs on `device`, to which the head and all inputs are moved.
    """
    place = resolve_device(device)
    head = head.to(place)
    torch.set_num_threads(1)  # parallel sums depend on the thread count
    photo = read_portrait(portrait).to(place)
    size = min(config.portrait_size, photo.image.shape[0])
    view = make_view(head, area_average(photo.image, size), area_average(photo.mask, size), photo.camera, photo.params)
    generated = [
        make_view(head, _unit(s.image).to(place), _unit(s.mask).to(place), s.camera.to(place), s.params.to(place))
        for s in read_shard_samples(views)
    ]
    start, trust = portrait_gaussians(config, head, view, generated)
    # Over two backgrounds: on white alone, white hair would look like background.
    both = [WeightedView(view), WeightedView(view.over(BLACK))]
    rigged = optimise(config, head, start, both, config.portrait_n_iterations, trust=trust, report=progress.metric)
    output.mkdir(parents=True, exist_ok=True)
    provenance = {
        "subject_id": photo.name,
        "source": "real",
        "poses": "tracked",
        "n_generated_views": len(generated),
        "licence": "the photo's; see the ledger for the detector and the model that made the views",
    }
    write_avatar(output, head, Avatar(rigged, photo.params, HeadParams.stack([photo.params])), config, provenance)
    progress.image("frontal", output / "frontal.png")


def portrait_gaussians(
    config: FitConfig, head: HeadModel, view: View, generated: list[View]
) -> tuple[RiggedGaussians, Tensor]:
    """Return coloured Gaussians before any optimisation, and the photo's confidence [N] in [0, 1] in each."""
    skin = skin_gaussians(head, view.vertices, config.portrait_n_skin, 0, SKIN_OPACITY, SKIN_SIZE)
    skin = skin[~below_neck_cut(head, skin, view)]
    parts = [skin]
    hair = find_hair(head, view).thinned(config.portrait_n_hair, item_seed(config.seed, "portrait hair"))
    if len(hair.rest):
        points = torch.cat([hair.front, hair.rest])
        rest_size = hair.rest.new_full((len(hair.rest),), REST_SHARE_SIZE * hair.rest_size)
        sizes = torch.cat([FRONT_SHARE_SIZE * hair.front_size, rest_size])
        space = head_space(head, view.vertices)
        anchors = space.anchors.nonzero()[:, 0]
        _, index = nearest_triangles(points, view.vertices[head.faces[anchors]].mean(1))
        parts.append(free_gaussians(head, view.vertices, points, anchors[index], sizes, 0))
    rigged = concatenate(parts)
    front = torch.zeros_like(rigged.is_free)
    front[len(skin) : len(skin) + len(hair.front)] = True
    colors, confidence = portrait_colors(rigged, head, view, generated, front, config.portrait_views_weight)
    return with_colors(rigged, colors), TRUST * confidence


def below_neck_cut(head: HeadModel, skin: RiggedGaussians, view: View) -> Tensor:
    """Return [N] bool: neck below its lowest point inside the mask; clothes are not part of the avatar."""
    if "neck" not in head.regions:
        return torch.zeros_like(skin.is_free)
    neck = head.face_mask("neck")
    points = skin.on_mesh(view.vertices, head.faces).means
    pixels = project(view.camera, points)[0].floor().long()
    x, y = pixels.clamp(0, view.camera.width - 1).unbind(-1)
    rest = skin.on_mesh(head.v_template, head.faces).means
    shown = neck[skin.binding] & (view.mask[y, x] > 0.5) & (pixels[:, 1] == y) & (rest[:, 2] > 0)
    if not shown.any():
        return neck[skin.binding]
    return rest[:, 1] < torch.quantile(rest[shown, 1], 0.05)
