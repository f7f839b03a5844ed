"""Training pictures of an avatar, and the colours and coverage they give at every Gaussian."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from headforge.avatar.rig import RiggedGaussians, posed_vertices, rgb_to_dc
from headforge.flame.model import HeadModel
from headforge.render.splatting.splat import splat
from headforge.types import Camera, GaussianCloud, HeadParams

WHITE, BLACK = 1.0, 0.0
MIN_COVERAGE = 0.3
"""Least coverage at which the subject's colour can be separated from the background."""
SEEN = 0.05
"""Least sum of blending weights (pixels) at which the views determine a Gaussian's colour."""
N_NEIGHBOURS = 8


@dataclass(frozen=True)
class View:
    """One picture with its posed head."""

    image: Tensor
    """[H, W, 3] in [0, 1], over a plain background."""
    mask: Tensor
    """[H, W] foreground coverage in [0, 1]."""
    camera: Camera
    """Unbatched, of the image's size."""
    vertices: Tensor
    """[V, 3] posed head."""
    background: float = WHITE
    """Background of the image: 1 white, 0 black."""

    def foreground(self) -> Tensor:
        """Return the subject's own colours [H, W, 3], without the background blended in at the mask's edge."""
        coverage = self.mask[..., None]
        own = self.image - (1 - coverage) * self.background
        return (own / coverage.clamp_min(MIN_COVERAGE)).clamp(0, 1)

    def over(self, background: float) -> View:
        """Return the picture composited over another plain background by its mask."""
        change = (background - self.background) * (1 - self.mask[..., None])
        return replace(self, image=(self.image + change).clamp(0, 1), background=background)


def make_view(head: HeadModel, image: Tensor, mask: Tensor, camera: Camera, params: HeadParams) -> View:
    """Pose the head and resize the camera to the image [H, W, 3]."""
    return View(image, mask, camera.resized(image.shape[1], image.shape[0]), posed_vertices(head, params))


def render_cloud(cloud: GaussianCloud, camera: Camera, background: float = WHITE) -> Tensor:
    """Render an image [H, W, C] of a cloud by an unbatched camera over a plain background."""
    result = splat(
        cloud.means, cloud.quats, cloud.scales, cloud.opacities, cloud.colors, camera.viewmat[None], camera.K[None],
        camera.width, camera.height, backgrounds=cloud.colors.new_full((1, cloud.colors.shape[-1]), background),
    )  # fmt: skip
    return result.image[0]


def blended_colors(cloud: GaussianCloud, view: View) -> tuple[Tensor, Tensor, Tensor]:
    """Return sums over a view's foreground pixels, weighted by each Gaussian's blending weights.

    Returns sums [N, 3], the weights on the foreground [N] and all weights [N]. The blending weight of a Gaussian in a
    pixel is the derivative of the pixel with respect to its colour, so that occlusion is exact and one backward pass
    serves all Gaussians.
    """
    mask = view.mask[..., None]
    channels = torch.cat([view.image * mask, mask, torch.ones_like(mask)], dim=-1)
    with torch.enable_grad():
        colors = cloud.means.new_zeros(len(cloud.means), channels.shape[-1], requires_grad=True)
        posed = GaussianCloud(cloud.means, cloud.quats, cloud.scales, cloud.opacities, colors)
        (gradient,) = torch.autograd.grad((render_cloud(posed, view.camera) * channels).sum(), colors)
    return gradient[:, :3], gradient[:, 3], gradient[:, 4]


@dataclass(frozen=True)
class Seen:
    """Colours and coverage of N Gaussians in the views."""

    colors: Tensor
    """[N, 3] mean colour of the foreground pixels; unseen Gaussians take their neighbours'."""
    foreground: Tensor
    """[N] blending weights on foreground pixels, summed over the views."""
    total: Tensor
    """[N] blending weights on all pixels."""


@torch.no_grad()
def look_at_views(rigged: RiggedGaussians, head: HeadModel, views: Sequence[View]) -> Seen:
    """Gather the views' colours and coverage at every Gaussian."""
    n = len(rigged)
    sums, foreground, total = (rigged.means.new_zeros(shape) for shape in ((n, 3), (n,), (n,)))
    for view in views:
        color, front, both = blended_colors(rigged.on_mesh(view.vertices, head.faces), view)
        sums, foreground, total = sums + color, foreground + front, total + both
    colors = sums / foreground.clamp_min(1e-6)[:, None]
    points = rigged.on_mesh(head.v_template, head.faces).means
    for group in (rigged.is_free, ~rigged.is_free):
        known = foreground > SEEN
        colors = fill_unseen(colors, points, known & group, ~known & group)
    return Seen(colors, foreground, total)


def with_colors(rigged: RiggedGaussians, colors: Tensor) -> RiggedGaussians:
    """Return the Gaussians with view-independent colours [N, 3]."""
    sh = torch.zeros_like(rigged.sh)
    sh[:, 0] = rgb_to_dc(colors)
    return rigged.replace(sh=sh)


def fill_unseen(colors: Tensor, points: Tensor, seen: Tensor, unseen: Tensor) -> Tensor:
    """Return colours [N, 3] with each `unseen` point [N] bool set to the mean of its nearest `seen` points."""
    if not unseen.any() or not seen.any():
        return colors
    filled = colors.clone()
    known, known_colors = points[seen], colors[seen]
    ids = unseen.nonzero()[:, 0]
    for chunk in ids.split(2048):
        distance, near = torch.cdist(points[chunk], known).topk(min(N_NEIGHBOURS, len(known)), largest=False)
        weights = 1 / (distance + 1e-3)
        filled[chunk] = (known_colors[near] * weights[..., None]).sum(1) / weights.sum(1, keepdim=True)
    return filled
