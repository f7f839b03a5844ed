"""Hair of a portrait: a rounded volume between the matte's outline and the head model.

One photo shows the extent of the hair sideways and upwards, not its depth: the silhouette is inflated like a balloon
about the plane through the ears, and the parts outside the head model near scalp and sides are hair.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, interpolate, max_pool2d

from headforge.avatar.hull import outer_layers
from headforge.avatar.views import View
from headforge.flame.model import HeadModel
from headforge.geometry.cameras import project
from headforge.geometry.meshes import vertex_normals
from headforge.geometry.seeding import item_seed
from headforge.render.mesh import rasterize
from headforge.types import Camera

GRID_SIZE = 96
"""Columns and rows of the volume over the photo."""
FRONT_SIZE = 288
"""Columns and rows of the finer points on the visible side."""
CENTRE_BEHIND_M = 0.012
"""Distance of the balloon's middle plane behind the head's origin, seen from the camera."""
MAX_HALF_DEPTH_M = 0.12
ABOVE_SCALP_M = 0.002
BESIDE_FACE_M = 0.006
"""Least distance of hair from the scalp, and from face and neck."""
MIN_THICKNESS_M = 0.004
SURE = 0.9
"""Mask coverage of pixels without background colour."""
MIN_FRONT_COVERAGE = 0.5
MIN_PIXELS = 30
VOTING_PX = 13
LIGHTNESS_WEIGHT = 0.25
"""Weight of lightness against tint: small, so that shaded skin counts as skin."""
N_LAYERS = 3
CHUNK = 4096


@dataclass(frozen=True)
class HairPoints:
    """Hair in the photo's world: N points on a front surface and M behind or beside it."""

    front: Tensor
    """[N, 3]."""
    front_size: Tensor
    """[N] distance to the neighbours, metres."""
    rest: Tensor
    """[M, 3]."""
    rest_size: float
    """Distance between neighbours, metres."""

    def thinned(self, n_max: int, seed: int) -> HairPoints:
        """Return at most n_max random points, the same share of front and rest, enlarged to fill the gaps."""
        n = len(self.front) + len(self.rest)
        if n <= n_max:
            return self
        share = n_max / n
        front, rest = (
            some_of(len(p), share, item_seed(seed, k)).to(p.device) for k, p in (("f", self.front), ("r", self.rest))
        )
        growth = share**-0.5
        return HairPoints(self.front[front], self.front_size[front] * growth, self.rest[rest], self.rest_size * growth)


def some_of(n: int, share: float, seed: int) -> Tensor:
    """Return a random subset of range(n), in order, rounded down; on the CPU."""
    chosen = np.random.default_rng(seed).permutation(n)[: int(n * share)]
    return torch.from_numpy(np.sort(chosen))


def find_hair(head: HeadModel, view: View) -> HairPoints:
    """Return hair points from the mask of `view` around the head; none for a bald head."""
    camera = view.camera.resized(GRID_SIZE, GRID_SIZE)
    mask = area_average(view.mask, GRID_SIZE)
    depth = float(camera.viewmat[2, 3]) + CENTRE_BEHIND_M
    cell = depth / float(camera.K[0, 0])
    half = (half_depth(mask > 0.5, cell) / cell)[..., None]
    n_steps = math.ceil(MAX_HALF_DEPTH_M / cell)
    steps = torch.arange(-n_steps, n_steps + 1, device=mask.device)
    filled = (steps.abs() <= half) & (half > 0)
    where = filled.nonzero()
    points = unproject(camera, where[:, 1] + 0.5, where[:, 0] + 0.5, depth + steps[where[:, 2]] * cell)
    kept = torch.zeros_like(filled)
    kept[tuple(where.T)] = is_hair(head, view, points)
    near = _front_depth(kept, steps, depth, cell)
    front, front_size = _front_points(head, view, near)
    # One cell inside the edge: these points are not fitted, and protruding ones would be visible in the photo's view.
    inner = -max_pool2d(-mask[None], 3, 1, 1)[0] > SURE
    layers = (outer_layers(kept, N_LAYERS) & inner[..., None]).nonzero()
    rest = unproject(camera, layers[:, 1] + 0.5, layers[:, 0] + 0.5, depth + steps[layers[:, 2]] * cell)
    return HairPoints(front, front_size, rest, cell)


def half_depth(mask: Tensor, cell_m: float) -> Tensor:
    """Return the balloon's half depth [H, W] in metres: a circle's arc over the distance to the outline."""
    distance = outline_distance(mask) * cell_m
    radius = min(float(distance.max()), MAX_HALF_DEPTH_M)
    inside = distance.clamp_max(radius)
    return (inside * (2 * radius - inside)).clamp_min(0).sqrt() * mask


def outline_distance(mask: Tensor) -> Tensor:
    """Return the distance [H, W] in pixels from each pixel of the mask to the nearest one outside; 0 outside."""
    inside, outside = mask.nonzero().float(), (~mask).nonzero().float()
    result = torch.zeros(mask.shape, device=mask.device)
    if len(inside) and len(outside):
        rim = outside[_touches(mask)[~mask]]
        result[mask] = torch.cat([torch.cdist(part, rim).amin(-1) for part in inside.split(CHUNK)])
    return result


def _touches(mask: Tensor) -> Tensor:
    grown = max_pool2d(mask[None].float(), 3, 1, 1)[0] > 0
    return grown & ~mask


def area_average(image: Tensor, size: int) -> Tensor:
    """Average [H, W] or [H, W, C] down to a square of `size`."""
    channels = image[None, None] if image.dim() == 2 else image.permute(2, 0, 1)[None]
    small = interpolate(channels, size=(size, size), mode="area")[0]
    return small[0] if image.dim() == 2 else small.permute(1, 2, 0)


def unproject(camera: Camera, x: Tensor, y: Tensor, depth: Tensor) -> Tensor:
    """Return world points [N, 3] at pixels x, y [N] and camera depths [N] of an unbatched camera."""
    focal, centre = camera.K.diagonal()[:2], camera.K[:2, 2]
    local = torch.stack([(x - centre[0]) / focal[0] * depth, (y - centre[1]) / focal[1] * depth, depth], dim=-1)
    return (local - camera.viewmat[:3, 3]) @ camera.viewmat[:3, :3]


def vertex_labels(head: HeadModel) -> tuple[Tensor, Tensor]:
    """Return two masks [V] bool: scalp and ears, which can have hair; eyes, nose and mouth, which can't."""
    never = ("left_eyeball", "right_eyeball", "teeth", "mouth_interior", "tongue", "lips", "nose")
    return head.vertex_mask("scalp", "left_ear", "right_ear"), head.vertex_mask(*never)


def skin_like(view: View, head: HeadModel) -> Tensor | None:
    """Return the mask [H, W] bool of pixels nearer in colour to the nose than to the hair outside the head's outline.

    Both colours are medians, shade has little weight, and pixels vote with their neighbours; above the eyes only the
    face itself can be skin. None when the mask has no foreground outside the head there.
    """
    on, _ = vertex_labels(head)
    camera = Camera(view.camera.K[None], view.camera.viewmat[None], view.camera.width, view.camera.height)
    fragments = rasterize(view.vertices[None], head.faces, camera)
    covered = fragments.mask[0]
    corner = head.faces[fragments.face_ids[0].clamp_min(0), 0]
    sure = view.mask > SURE
    above = (torch.arange(view.camera.height, device=view.mask.device) < eye_row(view, head))[:, None]
    skin, hair = head.vertex_mask("nose")[corner] & covered & sure, above & ~covered & sure
    if int(skin.sum()) < MIN_PIXELS or int(hair.sum()) < MIN_PIXELS:
        return None
    total = view.image.sum(-1, keepdim=True)
    tint = view.image[..., ::2] / total.clamp_min(0.05)
    features = torch.cat([tint, LIGHTNESS_WEIGHT * total], dim=-1)
    spread = (features[skin].std(0) + features[hair].std(0)).clamp_min(0.01)
    to_skin, to_hair = (((features - features[m].median(0).values) / spread).norm(dim=-1) for m in (skin, hair))
    votes = torch.stack([(to_skin < to_hair) & sure, sure]).float()
    skin_votes, all_votes = avg_pool2d(votes, VOTING_PX, 1, VOTING_PX // 2)
    return (skin_votes > 0.4 * all_votes) & (~above | (covered & ~on[corner]))


def eye_row(view: View, head: HeadModel) -> float:
    """Return the picture row of the eyes; the middle row if the head model has no eyeballs."""
    eyes = head.vertex_mask("left_eyeball", "right_eyeball")
    if not eyes.any():
        return view.camera.height / 2
    return float(project(view.camera, view.vertices[eyes])[0][:, 1].mean())


def is_hair(head: HeadModel, view: View, points: Tensor) -> Tensor:
    """Return the mask [N] bool of balloon points that are hair, not head or empty space in front of the face.

    On scalp and ears hair is as thick as at the outline (the 95th percentile there); beside face and neck it must be
    outside the head's own outline, by more than the outline's error.
    """
    height, nearest = height_above(view.vertices, head.faces, points)
    on, never = vertex_labels(head)
    small = view.camera.resized(GRID_SIZE, GRID_SIZE)
    fragments = rasterize(
        view.vertices[None], head.faces, Camera(small.K[None], small.viewmat[None], GRID_SIZE, GRID_SIZE)
    )
    pixels = project(small, points)[0].floor().long().clamp(0, GRID_SIZE - 1)
    outside = ~fragments.mask[0] & (area_average(view.mask, GRID_SIZE) > 0.5)
    beside = outside[pixels[:, 1], pixels[:, 0]]
    is_thick = opened(outside)[pixels[:, 1], pixels[:, 0]]
    over_scalp = on[nearest] & (height > ABOVE_SCALP_M)
    excess = height[over_scalp & beside]
    thickness = float(torch.quantile(excess[:200000], 0.95)) if len(excess) else 0.0
    if thickness < MIN_THICKNESS_M:
        return torch.zeros_like(nearest, dtype=torch.bool)
    ears, skin_pixels = head.vertex_mask("left_ear", "right_ear"), skin_like(view, head)
    if skin_pixels is None:
        skin = torch.zeros_like(nearest, dtype=torch.bool)
    else:
        skin = (area_average(skin_pixels.float(), GRID_SIZE) > 0.5)[pixels[:, 1], pixels[:, 0]]
    around = ~never[nearest] & is_thick & (height > BESIDE_FACE_M) & ~skin
    return (over_scalp & (height <= thickness) & ~((skin | ~is_thick) & ears[nearest])) | around


def opened(mask: Tensor) -> Tensor:
    """Remove parts narrower than three pixels from [H, W] bool (a morphological opening)."""
    eroded = -max_pool2d(-mask[None].float(), 3, 1, 1)
    return max_pool2d(eroded, 3, 1, 1)[0] > 0.5


def height_above(vertices: Tensor, faces: Tensor, points: Tensor) -> tuple[Tensor, Tensor]:
    """Return the signed height [N] of points over the surface at their nearest vertex [N]."""
    normals = vertex_normals(vertices, faces)
    nearest = torch.cat([torch.cdist(part, vertices).argmin(-1) for part in points.split(CHUNK)])
    return ((points - vertices[nearest]) * normals[nearest]).sum(-1), nearest


def _front_depth(kept: Tensor, steps: Tensor, depth: float, cell: float) -> Tensor:
    """Return the camera depth [H, W] of the first hair cell, infinite without one; smoothed over neighbours."""
    any_hair = kept.any(-1)
    first = kept.int().argmax(-1)
    near = torch.where(any_hair, depth + steps[first] * cell, 0.0)
    weights = any_hair.float()
    for _ in range(2):
        total = avg_pool2d(weights[None], 3, 1, 1)[0]
        near = avg_pool2d((near * weights)[None], 3, 1, 1)[0] / total.clamp_min(1e-6)
        near = near * any_hair
    return torch.where(any_hair, near, math.inf)


def _front_points(head: HeadModel, view: View, near: Tensor) -> tuple[Tensor, Tensor]:
    """Return points [N, 3] and spacings [N] on the hair's visible surface in front of the head."""
    camera = view.camera.resized(FRONT_SIZE, FRONT_SIZE)
    mask = interpolate(view.mask[None, None], size=(FRONT_SIZE, FRONT_SIZE), mode="bilinear", antialias=True)[0, 0]
    known = torch.isfinite(near)
    filled = torch.where(known, near, near[known].mean() if known.any() else near.new_zeros(()))
    fine = interpolate(filled[None, None], size=(FRONT_SIZE, FRONT_SIZE), mode="bilinear")[0, 0]
    is_there = interpolate(known[None, None].float(), size=(FRONT_SIZE, FRONT_SIZE), mode="bilinear")[0, 0] > 0.5
    fragments = rasterize(
        view.vertices[None], head.faces, Camera(camera.K[None], camera.viewmat[None], FRONT_SIZE, FRONT_SIZE)
    )
    behind = ~fragments.mask[0] | (fragments.depth[0] > fine)
    rows, columns = (is_there & behind & (mask > MIN_FRONT_COVERAGE)).nonzero(as_tuple=True)
    depth = fine[rows, columns]
    return unproject(camera, columns + 0.5, rows + 0.5, depth), depth / float(camera.K[0, 0])
