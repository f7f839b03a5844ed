"""The learnable Gaussian field on the head's texture and its splatted control maps (Learn2Control).

One Gaussian per used texel, attached to the surface of the posed head. Features, opacities and scales are learned and
shared by all identities; the positions depend on the tracked head alone.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from headforge.errors import ShapeError
from headforge.flame.model import HeadModel
from headforge.flame.uv import rasterize_uv
from headforge.geometry.meshes import interpolate_on_faces
from headforge.geometry.seeding import item_seed
from headforge.render.splatting.splat import splat
from headforge.types import Camera

OPACITY_LOGIT_INIT = 2.0
SCALE_INIT_TEXELS = 0.6
"""Standard deviation of a Gaussian in texel spacings: neighbours overlap, so that the surface has no holes."""
WAVES_PER_METRE = 8.0
"""Highest frequency of the initial features: about two periods over a head. Random features would stay noise."""
MAX_SPACING_M = 0.02
"""Larger than any texel of a head; keeps degenerate triangles from covering the picture."""


class GaussianField(nn.Module):
    """N isotropic Gaussians with C feature channels bound to texels of the head's texture."""

    corner_ids: Tensor
    """[N, 3] vertex ids of the triangle under each Gaussian."""
    barycentrics: Tensor
    """[N, 3]."""

    def __init__(self, n_gaussians: int, n_channels: int) -> None:
        super().__init__()
        self.register_buffer("corner_ids", torch.zeros(n_gaussians, 3, dtype=torch.int64))
        self.register_buffer("barycentrics", torch.zeros(n_gaussians, 3))
        self.features = nn.Parameter(torch.zeros(n_gaussians, n_channels))
        self.opacity_logits = nn.Parameter(torch.full((n_gaussians,), OPACITY_LOGIT_INIT))
        self.log_scales = nn.Parameter(torch.zeros(n_gaussians))

    @staticmethod
    def on_head(head: HeadModel, resolution: int, n_channels: int, seed: int) -> GaussianField:
        """Return a field with one Gaussian per used texel of a square texture, on the head's device.

        `resolution` is the texture side in texels. Features start as sines of the template's xyz with directions drawn
        from `seed` and frequencies that increase with the channel; scales start at `SCALE_INIT_TEXELS` of the local
        texel spacing.
        """
        face_map, barycentric_map = rasterize_uv(head, resolution)
        used = face_map >= 0
        face_ids, barycentrics = face_map[used], barycentric_map[used]
        with head.device:
            field = GaussianField(len(face_ids), n_channels)
        field.corner_ids.copy_(head.faces[face_ids])
        field.barycentrics.copy_(barycentrics)
        points = interpolate_on_faces(head.v_template, head.faces, face_ids, barycentrics)
        generator = torch.Generator("cpu").manual_seed(item_seed(seed, "field"))
        directions = nn.functional.normalize(torch.randn(n_channels, 3, generator=generator, device="cpu"), dim=-1)
        phases = 2 * math.pi * torch.rand(n_channels, generator=generator, device="cpu")
        frequencies = WAVES_PER_METRE * torch.linspace(0.25, 1.0, n_channels, device="cpu")
        directions, phases, frequencies = (x.to(head.device) for x in (directions, phases, frequencies))
        with torch.no_grad():
            field.features.copy_(torch.sin(2 * math.pi * frequencies * (points @ directions.T) + phases))
            field.log_scales.copy_((SCALE_INIT_TEXELS * texel_spacing_m(head, face_ids, resolution)).log())
        return field

    def means(self, vertices: Tensor) -> Tensor:
        """Return Gaussian centres [B, N, 3] on posed vertices [B, V, 3]."""
        return torch.einsum("bnkc,nk->bnc", vertices[:, self.corner_ids], self.barycentrics)

    def forward(self, means: Tensor, camera: Camera) -> Tensor:
        """Render control maps [B, C + 1, H, W] of centres [B, N, 3] by B cameras: premultiplied features, alpha."""
        if means.ndim != 3 or means.shape[1] != len(self.features):
            raise ShapeError("means", f"[B, {len(self.features)}, 3]", tuple(means.shape))
        drawn = splat(
            means,
            None,
            self.log_scales.exp(),
            self.opacity_logits.sigmoid(),
            self.features.tanh(),
            camera.viewmat[:, None],
            camera.K[:, None],
            camera.width,
            camera.height,
        )
        return torch.cat([drawn.image[:, 0], drawn.alpha[:, 0]], dim=-1).permute(0, 3, 1, 2)


def texel_spacing_m(head: HeadModel, face_ids: Tensor, resolution: int) -> Tensor:
    """Return the template distance [N] in metres between neighbouring texels in the triangles `face_ids` [N]."""
    corners = head.v_template[head.faces[face_ids]]
    area_m2 = torch.linalg.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]).norm(dim=-1)
    uv = head.uvs[head.uv_faces[face_ids]] * resolution
    a, b = uv[:, 1] - uv[:, 0], uv[:, 2] - uv[:, 0]
    area_texels = (a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]).abs()
    return (area_m2 / area_texels.clamp_min(1e-6)).sqrt().clamp(1e-4, MAX_SPACING_M)
