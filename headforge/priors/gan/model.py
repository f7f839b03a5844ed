"""SphereHead and PanoHead: latent code to planes, planes and camera to views.

Sources: Li et al. 2024 (SphereHead), An et al. 2023 (PanoHead), both based on EG3D (Chan et al. 2022). Modules and
weights have the official names, so that an official state dict loads unchanged.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from headforge.errors import ShapeError
from headforge.priors.gan.layers import ACTIVATION_GAIN, LEAK, FullyConnected, PointConvolution
from headforge.priors.gan.planes import N_FEATURES, sample_grids, sample_spheres
from headforge.priors.gan.renderer import Jitter, Seen, camera_rays, render_rays
from headforge.priors.gan.settings import GanSettings
from headforge.priors.gan.stylegan import Backbone, Mapping, Synthesis, SynthesisSettings, ToRgb
from headforge.priors.gan.superresolution import SHAPES, Superresolution
from headforge.types import Camera

N_HIDDEN = 64
N_SPHERE_CHANNELS, N_CHAIN_CHANNELS = 512, 256
N_PARSING_CLASSES = 20
MASK_MARGIN = 0.001
"""The mask's range is extended by this at both ends, so that it reaches exactly 0 and 1."""


@dataclass(frozen=True)
class GanViews:
    """V views of one subject."""

    image: Tensor
    """[V, 3, S, S] in about [-1, 1]."""
    raw: Tensor
    """[V, 3, R, R] before super-resolution, in about [-1, 1]."""
    ray_depth: Tensor
    """[V, 1, R, R] along unit-length rays, in the generator's units."""
    z_depth: Tensor
    """[V, 1, R, R] along the camera's z axis."""
    mask: Tensor
    """[V, 1, R, R] opacity, in about [0, 1]."""
    parsing: Tensor | None = None
    """[V, 20, R, R] shares of SphereHead's parsing classes, if it was trained with them."""


class Decoder(nn.Module):
    """Map a point's features to colour features and raw density."""

    def __init__(self, lr_multiplier: float, activation: str) -> None:
        super().__init__()
        self.activation = activation
        self.net = nn.Sequential(
            FullyConnected(N_FEATURES, N_HIDDEN, lr_multiplier=lr_multiplier),
            nn.Softplus(),
            FullyConnected(N_HIDDEN, 1 + N_FEATURES, lr_multiplier=lr_multiplier),
        )

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Map [M, 32] to features [M, 32] and raw density [M]."""
        out = self.net(features)
        density, color = out[:, 0], out[:, 1:]
        if self.activation == "sigmoid":
            color = torch.sigmoid(color) * (1 + 2 * MASK_MARGIN) - MASK_MARGIN
        elif self.activation == "lrelu":
            color = functional.leaky_relu(color, LEAK) * ACTIVATION_GAIN
        return color, density


class HeadGan(nn.Module):
    """A generator of heads. Planes are computed once per subject and serve all of its views."""

    def __init__(self, settings: GanSettings) -> None:
        super().__init__()
        self.settings = settings
        is_sphere = settings.kind == "spherehead"
        n_plane_channels = N_SPHERE_CHANNELS if is_sphere else 3 * N_FEATURES * settings.plane_depth
        synthesis = SynthesisSettings(
            settings.w_dim, settings.plane_size, n_plane_channels, settings.channel_base, settings.channel_max,
            settings.n_half_resolutions, settings.clamp,
        )  # fmt: skip
        self.backbone = Backbone(settings.z_dim, settings.c_dim, settings.n_mapping_layers, synthesis)
        if is_sphere:
            self.ConvA, self.ConvB = (_chain(settings.plane_depth) for _ in range(2))
        shape = SHAPES[settings.superresolution]
        self.superresolution = Superresolution(
            shape, N_FEATURES, settings.w_dim, settings.superresolution_half, settings.antialias
        )
        self.decoder = Decoder(settings.decoder_lr_multiplier, settings.decoder_activation)
        self.torgb = ToRgb(N_FEATURES, 3, settings.w_dim) if settings.has_rgb_layer else None
        self.bcg_synthesis = _background(settings, shape.input_resolution) if settings.has_background else None
        # Moves a camera label in training; kept so that the official weights load, and not used.
        self.t_mapping = Mapping(
            settings.z_dim, settings.c_dim, 3, 1, settings.n_mapping_layers, lr_multiplier=1.0, last_is_linear=True
        )
        if settings.has_parsing:
            self.toparsing = ToRgb(N_FEATURES, N_PARSING_CLASSES, settings.w_dim)

    def styles(self, z: Tensor, label: Tensor, psi: float = 1.0, cutoff: int | None = None) -> Tensor:
        """Map z [B, z_dim] and the conditioning label [B, 25] to styles [B, n_ws, w_dim]."""
        return self.backbone.mapping(z, label * self.settings.label_scale, psi, cutoff)

    def planes(self, ws: Tensor, half: bool = True) -> Tensor:
        """Return the view-independent planes of subjects with styles ws [B, n_ws, w_dim].

        SphereHead: [B, 2, 3, 32, S, S]; PanoHead: [B, 3, 32, D, S, S]. `half`: the layers trained in half precision use
        it on a GPU.
        """
        found = self.backbone.synthesis(ws, half=half)
        size, depth = found.shape[-2:], self.settings.plane_depth
        if self.settings.kind == "spherehead":
            chains = [chain(found).unflatten(1, (depth, N_FEATURES)) for chain in (self.ConvA, self.ConvB)]
            return torch.stack(chains, dim=1)
        return found.reshape(len(found), 3, N_FEATURES, depth, *size)

    def background(self, ws: Tensor) -> Tensor | None:
        """Return background features [1, 32, H, W] of the styles ws [1, n_ws, w_dim]; None without such a branch."""
        if self.bcg_synthesis is None:
            return None
        n = self.bcg_synthesis.n_ws
        padded = torch.cat([ws, ws[:, -1:].expand(-1, max(n - ws.shape[1], 0), -1)], dim=1)
        return self.bcg_synthesis(padded[:, :n])

    def render(
        self,
        planes: Tensor,
        ws: Tensor,
        camera: Camera,
        jitters: list[Jitter],
        background: Tensor | None = None,
        half: bool = True,
    ) -> GanViews:
        """Render V views of one subject from its planes [1, ...] and styles ws [1, n_ws, w_dim].

        `camera` [V] is in the generator's units, of any square size; the rendering has its size, as do the jitters
        (`settings.render_size` in the generator's training). `background`: the result of that method.
        """
        size = camera.width
        if camera.height != size or len(jitters) != len(camera.K):
            raise ShapeError("camera", "square, one jitter each", (len(camera.K), camera.height, camera.width))
        seen, stretches = [], []
        for i, jitter in enumerate(jitters):
            origin, directions, stretch = camera_rays(camera[i])
            seen.append(self.trace(planes, origin, directions, jitter))
            stretches.append(stretch)
        features = torch.stack([one.features.T.unflatten(1, (size, size)) for one in seen])
        depth, opacity, stretch = (
            torch.stack([x.unflatten(0, (size, size)) for x in values])[:, None]
            for values in ([one.depth for one in seen], [one.opacity for one in seen], stretches)
        )
        return self._finish(features, depth, opacity, stretch, ws, background, half)

    def trace(self, planes: Tensor, origin: Tensor, directions: Tensor, jitter: Jitter) -> Seen:
        """Render rays from `origin` [3] along `directions` [R, 3] through one subject's planes [1, ...]."""
        sample = sample_spheres if self.settings.kind == "spherehead" else sample_grids
        rays = self.settings.rays

        def field(points: Tensor) -> tuple[Tensor, Tensor]:
            return self.decoder(sample(planes, points[None], rays.box_warp)[0])

        return render_rays(field, origin, directions, jitter, rays)

    def _finish(
        self,
        features: Tensor,
        depth: Tensor,
        opacity: Tensor,
        stretch: Tensor,
        ws: Tensor,
        background: Tensor | None,
        half: bool,
    ) -> GanViews:
        if self.settings.decoder_activation == "sigmoid":
            features = features * 2 - 1
        if background is not None:
            behind = functional.interpolate(
                background, features.shape[2:], mode="bilinear", align_corners=False, antialias=self.settings.antialias
            )
            features = features + (1 - opacity) * behind
        ws = ws.expand(len(features), -1, -1)
        raw = features[:, :3] if self.torgb is None else self.torgb(features, ws[:, -1])
        noise = self.settings.superresolution_noise
        return GanViews(
            image=self.superresolution(raw, features, ws, noise, half),
            raw=raw,
            ray_depth=depth,
            z_depth=depth / stretch,
            mask=opacity * (1 + 2 * MASK_MARGIN) - MASK_MARGIN,
            parsing=self.toparsing(features, ws[:, -1]).softmax(1) if self.settings.has_parsing else None,
        )


def _chain(plane_depth: int) -> nn.Sequential:
    return nn.Sequential(
        PointConvolution(N_SPHERE_CHANNELS, N_CHAIN_CHANNELS),
        PointConvolution(N_CHAIN_CHANNELS, N_FEATURES * plane_depth),
    )


def _background(settings: GanSettings, resolution: int) -> Synthesis:
    half_base = settings.channel_base // 2
    shape = (settings.w_dim, resolution, N_FEATURES, half_base, settings.channel_max)
    return Synthesis(SynthesisSettings(*shape, settings.n_half_resolutions, settings.clamp))
