"""Colours of a portrait's Gaussians: from the photo where visible, its mirror image, generated views, neighbours."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import grid_sample, max_pool2d, normalize

from headforge.avatar.portrait.hair import skin_like
from headforge.avatar.rig import RiggedGaussians, bound_frames
from headforge.avatar.views import Seen, View, fill_unseen, look_at_views
from headforge.flame.model import HeadModel
from headforge.geometry.cameras import project
from headforge.render.mesh import rasterize
from headforge.types import Camera

GRAZING, FACING = 0.25, 0.6
"""Cosines between surface normal and line of sight at which the photo's confidence reaches 0 and 1."""
HIDDEN_M = 0.004
"""Least depth of a hidden point behind the nearest surface."""
MASK_SURE = 0.9
ERODED_PX = 5
"""Window width around the matte's edge in which pixels are mixed with the background."""
ENOUGH = 0.35
"""Least confidence of a colour that mirrored points and neighbours may take."""
MIN_GENERATED_WEIGHT = 1.0
NEAR_SKIN_PX = 17
"""Window width around skin in which pixels may be ears or their shade: no source of hair colour."""
FOLD_M = 0.03
SIDE_M = 0.045
"""Distance of the sides of the face from its middle."""
CHUNK = 2048
INNER_COLORS = {
    "mouth_interior": (0.30, 0.10, 0.10),
    "tongue": (0.62, 0.32, 0.32),
    "teeth": (0.86, 0.83, 0.78),
    "left_eyeball": (0.84, 0.82, 0.80),
    "right_eyeball": (0.84, 0.82, 0.80),
}
"""Default colours of parts that a photo hides."""


@dataclass(frozen=True)
class PhotoColors:
    """Colours of the photo at N Gaussians."""

    colors: Tensor
    """[N, 3]."""
    confidence: Tensor
    """[N] in [0, 1]: visible, facing the camera, inside the mask."""


def sample_image(image: Tensor, pixels: Tensor) -> Tensor:
    """Sample bilinear values [N, C] of image [H, W, C] at pixels [N, 2]."""
    size = torch.tensor([image.shape[1], image.shape[0]], device=pixels.device)
    grid = (pixels / size * 2 - 1)[None, None]
    return grid_sample(image.permute(2, 0, 1)[None], grid, padding_mode="border", align_corners=False)[0, :, 0].T


def photo_colors(rigged: RiggedGaussians, head: HeadModel, view: View, front: Tensor) -> PhotoColors:
    """Sample the photo at the Gaussians' centres; hidden and grazing ones have zero confidence.

    `front` [N] bool: hair visible in the photo; other hair has zero confidence.
    """
    frames = bound_frames(view.vertices, head.faces, rigged.binding)
    points = rigged.in_frames(frames).means
    pixels, depth = project(view.camera, points)
    camera = Camera(view.camera.K[None], view.camera.viewmat[None], view.camera.width, view.camera.height)
    fragments = rasterize(view.vertices[None], head.faces, camera)
    x = pixels[:, 0].long().clamp(0, view.camera.width - 1)
    y = pixels[:, 1].long().clamp(0, view.camera.height - 1)
    surface = fragments.depth[0][y, x]
    visible = (surface == 0) | (depth < surface + HIDDEN_M)
    cosine = (frames.rotation[..., 1] * normalize(view.camera.centre - points, dim=-1)).sum(-1)
    facing = ((cosine - GRAZING) / (FACING - GRAZING)).clamp(0, 1)
    facing = torch.where(rigged.is_free, front.float(), facing)
    eroded = -max_pool2d(-view.mask[None], ERODED_PX, 1, ERODED_PX // 2)[0]
    mask = sample_image(eroded[..., None], pixels)[:, 0]
    inside = (mask > MASK_SURE) | front
    return PhotoColors(sample_image(view.foreground(), pixels), facing * visible * inside)


def nearest(points: Tensor, candidates: Tensor) -> Tensor:
    """Return the index [N] of the nearest of candidates [M, 3] for each of points [N, 3]."""
    return torch.cat([torch.cdist(part, candidates).argmin(-1) for part in points.split(CHUNK)])


def mirrored(found: PhotoColors, points: Tensor, group: Tensor) -> PhotoColors:
    """Return mirrored colours: each point of `group` [N] bool takes the colour at its mirror point of the rest pose."""
    colors, confidence = torch.zeros_like(found.colors), torch.zeros_like(found.confidence)
    known = group & (found.confidence > ENOUGH)
    wanted = group & (found.confidence < 1)
    if not known.any() or not wanted.any():
        return PhotoColors(colors, confidence)
    twin = points[wanted] * points.new_tensor([-1.0, 1, 1])
    index = nearest(twin, points[known])
    distance = (points[known][index] - twin).norm(dim=-1)
    colors[wanted] = found.colors[known][index]
    confidence[wanted] = found.confidence[known][index] * (distance < HIDDEN_M)
    return PhotoColors(colors, confidence)


def matched(generated: Seen, found: PhotoColors, is_free: Tensor) -> Tensor:
    """Return the generated views' colours [N, 3], matched to the photo's mean and spread on skin visible in both."""
    both = (found.confidence > ENOUGH) & (generated.foreground > MIN_GENERATED_WEIGHT) & ~is_free
    if int(both.sum()) < CHUNK // 32:
        return generated.colors
    a, b = generated.colors[both], found.colors[both]
    gain = (b.std(0) / a.std(0).clamp_min(1e-3)).clamp(0.5, 1.5)
    return ((generated.colors - a.mean(0)) * gain + b.mean(0)).clamp(0, 1)


def portrait_colors(
    rigged: RiggedGaussians, head: HeadModel, photo: View, generated: Sequence[View], front: Tensor, views_weight: float
) -> tuple[Tensor, Tensor]:
    """Return colours [N, 3] of all Gaussians and the photo's confidence [N] in them; `front` as in `photo_colors`.

    views_weight is the weight of the generated views against 1 for the nearest visible colour of the photo.
    """
    rest = rigged.on_mesh(head.v_template, head.faces).means
    pixels, depth = project(photo.camera, rigged.on_mesh(photo.vertices, head.faces).means)
    found = photo_colors(rigged, head, photo, front)
    skin_pixels = skin_like(photo, head)
    is_skin_colored = None if skin_pixels is None else sample_image(skin_pixels[..., None].float(), pixels)[:, 0] > 0.5
    if is_skin_colored is not None:
        found = PhotoColors(found.colors, found.confidence * ~(is_bare(rigged, head) & ~is_skin_colored))
    inner = inner_parts(head, rigged.binding)
    skin = ~rigged.is_free & (inner < 0)
    mirror = mirrored(found, rest, skin)
    own, other = found.confidence[:, None], (mirror.confidence * (1 - found.confidence))[:, None]
    colors = (found.colors * own + mirror.colors * other) / (own + other).clamp_min(1e-6)
    known = (own + other)[:, 0]
    filled = fill_unseen(colors, rest, skin & (known > ENOUGH), skin & (known <= ENOUGH))
    if generated:
        seen = look_at_views(rigged, head, generated)
        share = (
            views_weight
            / (1 + views_weight)
            * ((seen.foreground > MIN_GENERATED_WEIGHT) & skin & ~in_region(rigged, head, "neck"))
        )
        filled = filled + share[:, None] * (matched(seen, found, rigged.is_free) - filled)
    colors = colors + (1 - known.clamp(0, 1))[:, None] * (filled - colors)
    scalp = in_region(rigged, head, "scalp")
    hair = (front | (scalp & (found.confidence > ENOUGH))) & (found.confidence > 0)
    if skin_pixels is not None:
        near_skin = max_pool2d(skin_pixels[None].float(), NEAR_SKIN_PX, 1, NEAR_SKIN_PX // 2)[0]
        hair = hair & (sample_image(near_skin[..., None], pixels)[:, 0] < 0.5)
    hidden = (rigged.is_free & ~front) | (scalp & (known <= ENOUGH))
    colors = fold_hair(colors, pixels, depth, hair, hidden, photo)
    return fill_inner(colors, found, inner), found.confidence


def in_region(rigged: RiggedGaussians, head: HeadModel, *regions: str) -> Tensor:
    """Return [N] bool: bound to a triangle of one of the regions and not free."""
    return head.face_mask(*regions)[rigged.binding] & ~rigged.is_free


def is_bare(rigged: RiggedGaussians, head: HeadModel) -> Tensor:
    """Return [N] bool: neck, ears and sides of the face, where a non-skin colour is hair or clothes in front."""
    features = in_region(rigged, head, "lips", "nose", "forehead")
    rest = rigged.on_mesh(head.v_template, head.faces).means
    side = in_region(rigged, head, "face") & ~features & (rest[:, 0].abs() > SIDE_M)
    return side | in_region(rigged, head, "neck", "left_ear", "right_ear")


def inner_parts(head: HeadModel, binding: Tensor) -> Tensor:
    """Return the index [N] in `INNER_COLORS` of each Gaussian's part, -1 for skin."""
    part = torch.full((len(head.faces),), -1, device=head.device)
    for i, name in enumerate(INNER_COLORS):
        if name in head.regions:
            part[head.face_mask(name)] = i
    return part[binding]


def fold_hair(colors: Tensor, pixels: Tensor, depth: Tensor, seen: Tensor, hidden: Tensor, photo: View) -> Tensor:
    """Colour hidden hair by folding the texture of the visible hair over the outline.

    A hidden point takes the colour of the visible hair that lies as far inwards of it in the picture as the point lies
    behind the visible surface, there and back within `FOLD_M`. pixels [N, 2] and depth [N] are those of the photo's
    camera; seen and hidden are [N] bool.
    """
    if not seen.any() or not hidden.any():
        return colors
    front, front_depth = pixels[seen], depth[seen]
    metres_per_pixel = float(front_depth.mean() / photo.camera.K[0, 0])
    centre = project(photo.camera, photo.vertices.mean(0, keepdim=True))[0]
    inwards = normalize(centre - pixels[hidden], dim=-1)
    behind = (depth[hidden] - front_depth[nearest(pixels[hidden], front)]).clamp_min(0)
    folded = FOLD_M - ((behind % (2 * FOLD_M)) - FOLD_M).abs()
    wanted = pixels[hidden] + inwards * folded[:, None] / metres_per_pixel
    filled = colors.clone()
    filled[hidden] = colors[seen][nearest(wanted, front)]
    return filled


def fill_inner(colors: Tensor, found: PhotoColors, inner: Tensor) -> Tensor:
    """Colour eyes and mouth from the photo where visible, by default colours elsewhere. inner [N]: `inner_parts`."""
    guesses = colors.new_tensor(list(INNER_COLORS.values()))[inner.clamp_min(0)]
    sure = (found.confidence > ENOUGH)[:, None]
    return torch.where((inner >= 0)[:, None], torch.where(sure, found.colors, guesses), colors)
