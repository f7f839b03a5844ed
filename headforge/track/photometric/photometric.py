"""Photometric refinement of one subject's tracks: texture, light, shading, silhouette.

The head, posed by the landmark fit, is rendered with its own texture under one spherical-harmonic light; texture,
light, identity, expression, pose and focal length are then optimised by gradient descent on the difference to the
pictures. Objective, weights and learning rates are those of VHAP (ShenhanQian/VHAP, `vhap/config/base.py` and
`vhap/model/tracker.py`): the solver covers its landmark stages; its texture and joint stages are here with step counts
for a CPU; its last stage (per-vertex offsets) is omitted, because head parameters cannot represent it. Coverage is not
differentiable here, so the silhouette enters as a distance: the mesh must lie inside the foreground. The mesh need not
reach the foreground's boundary: hair extends beyond the head.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy.ndimage import distance_transform_edt
from torch import Tensor
from torch.nn.functional import grid_sample, normalize

from headforge.errors import ShapeError
from headforge.flame.model import HeadModel, landmarks, pose_head
from headforge.geometry.cameras import project
from headforge.geometry.meshes import vertex_normals
from headforge.geometry.rotations import axis_angle_to_matrix
from headforge.geometry.seeding import item_seed
from headforge.render.mesh import rasterize
from headforge.render.shading import sample_texture, sh_irradiance
from headforge.store.images import area_resize
from headforge.types import Camera, HeadParams

DRAWN_REGIONS = ("face", "lips", "nose", "left_ear", "right_ear", "neck")
"""Regions compared with the pictures: hair covers the scalp; eyes and mouth move independently."""
HIDDEN_REGIONS = ("scalp", "left_eyeball", "right_eyeball", "teeth")
FULL_COVERAGE = 250
"""Mask value above which a pixel is pure foreground."""
MIN_COSINE = 0.2
"""Surfaces at more grazing angles are excluded: a pixel there covers many texels."""
AMBIENT = math.sqrt(4 * math.pi)
FINAL_LR_SHARE = 0.1


@dataclass(frozen=True)
class PhotometricSettings:
    """Steps, sizes, weights and learning rates of the refinement."""

    n_texture_steps: int = 40
    """Steps for texture and light alone; VHAP takes 500."""
    n_joint_steps: int = 120
    """Steps for everything together; VHAP takes 500, then 50 a frame and 30 epochs over all frames."""
    views_per_step: int = 4
    """Pictures rendered at each step."""
    render_size: int = 128
    """Pictures are averaged down to this height for the comparison."""
    texture_size: int = 128
    """Side of the texture; VHAP's has 2048."""
    lr_base: float = 5e-3
    """Learning rate of texture, light, shape, joints and rotation."""
    lr_expr: float = 5e-2
    """Learning rate of the expression."""
    lr_translation: float = 1e-3
    """Learning rate of the head's translation, metres."""
    lr_geometry_scale: float = 0.3
    """Factor on the learning rates of all but texture and light, which start at the landmark fit; VHAP uses 0.1 after
    the first frame, with far more steps."""
    photo: float = 30.0
    """Weight of the mean absolute difference of colours."""
    landmark: float = 10.0
    """Weight of the mean absolute difference of landmarks, in half image widths."""
    silhouette: float = 10.0
    """Weight of the mean distance of vertices from the foreground, in half image widths."""
    texture_tv: float = 40.0
    """Weight of the texture's mean squared differences of neighbours: VHAP's 1e4 for a texture of 2048 texels, whose
    neighbours are 16 times as close."""
    shape_prior: float = 0.3
    """Weight of the mean squared shape coefficient."""
    expr_prior: float = 0.03
    """Weight of the mean squared expression coefficient."""
    jaw_prior: float = 0.3
    """Weight of the mean squared jaw angle, radians."""
    is_focal_known: bool = False
    """Whether to keep the focal length fixed."""
    is_camera_known: bool = False
    """Whether to keep the cameras fixed."""
    is_light_in_world: bool = True
    """Whether the light is fixed to the head's world (a rig, a synthetic head), not to the camera (a head that moves in
    front of one camera)."""
    seed: int = 0
    """Seed of the choice of pictures per step."""


@dataclass(frozen=True)
class Pictures:
    """V pictures of one subject with their landmarks, all of one size."""

    images: np.ndarray
    """[V, H, W, 3] uint8."""
    masks: np.ndarray
    """[V, H, W] uint8, foreground coverage."""
    landmarks: Tensor
    """[V, 68, 2] pixels; NaN allowed for unseen points."""
    weights: Tensor
    """[V, 68] confidences, 0 for unseen points."""


@dataclass(frozen=True)
class Refined:
    """Result of the refinement."""

    params: HeadParams
    """[V]."""
    camera: Camera
    """[V], of the pictures' full size."""
    texture: Tensor
    """[R, R, 3] albedo, row = (1 - v) * R."""
    light: Tensor
    """[9, 3] for `render.shading.sh_irradiance`."""
    photo_before: float
    """Mean absolute colour difference after fitting texture and light, before refining geometry; colours in [0, 1]."""
    photo_after: float
    """The same at the end."""


def refine_subject(
    head: HeadModel, params: HeadParams, camera: Camera, pictures: Pictures, settings: PhotometricSettings
) -> Refined:
    """Refine head parameters [V] and cameras [V] of one subject, which share identity and focal length.

    Poses stay in the cameras, as in landmark tracking. Differing shapes are replaced by their mean; views that share
    one expression and jaw keep sharing them. Deterministic on one machine. Computed on the device of `params`; the
    head, cameras and landmarks must be on it, pictures are moved to it. Raises ShapeError if the counts of views
    differ.
    """
    if len(pictures.images) != len(params.expr) or len(camera.K) != len(params.expr):
        raise ShapeError("pictures.images", f"[{len(params.expr)}, H, W, 3]", pictures.images.shape)
    scene = _Scene(head, params, camera, pictures, settings)
    scene.paint()
    scene.descend(scene.surface_groups(), settings.n_texture_steps)
    before = scene.photo_error()
    scene.descend(scene.surface_groups() + scene.geometry_groups(), settings.n_joint_steps)
    found, cameras = scene.found(camera.width, camera.height)
    return Refined(found, cameras, scene.texture.detach(), scene.light.detach(), before, scene.photo_error())


class _Scene:
    """The unknowns and the rendering model."""

    def __init__(
        self, head: HeadModel, params: HeadParams, camera: Camera, pictures: Pictures, settings: PhotometricSettings
    ) -> None:
        self.n_views = len(params.expr)
        self._head = head
        self._settings = settings
        self._start = params
        height = min(settings.render_size, camera.height)
        self._size = (height, round(camera.width * height / camera.height))
        self._camera = camera.resized(self._size[1], self._size[0])
        device = self._device = params.expr.device
        images = torch.from_numpy(np.stack([area_resize(i, self._size) for i in pictures.images]))
        self._images = images.to(device).float() / 255
        masks = np.stack([area_resize(mask, self._size) for mask in pictures.masks])
        self._inside = torch.from_numpy(masks >= FULL_COVERAGE).to(device)
        self._outside_px = torch.from_numpy(np.stack([_distance_px(mask == 0) for mask in masks])).to(device).float()
        finite = torch.isfinite(pictures.landmarks).all(-1)
        scale = pictures.landmarks.new_tensor([self._size[1] / camera.width, self._size[0] / camera.height])
        self._points = (torch.where(finite[..., None], pictures.landmarks, 0.0) * scale).float()
        self._weights = (pictures.weights * finite).float()
        self._is_drawn = drawn_faces(head)
        self._corner_uvs = head.uvs[head.uv_faces]
        size = settings.texture_size
        self.texture = torch.full((size, size, 3), 0.5, device=device, requires_grad=True)
        self.light = torch.zeros(9, 3, device=device)
        self.light[0] = AMBIENT
        self.light.requires_grad_()
        self._shape = params.shape.mean(0).clone().requires_grad_()
        self._expr, self._jaw = (_shared(value).clone().requires_grad_() for value in (params.expr, params.jaw))
        self._turn = torch.zeros(self.n_views, 3, device=device, requires_grad=True)
        self._shift = torch.zeros(self.n_views, 3, device=device, requires_grad=True)
        self._log_zoom = torch.zeros(1, device=device, requires_grad=True)

    def surface_groups(self) -> list[dict]:
        """Return the parameter groups of texture and light."""
        return [{"params": [self.texture, self.light], "lr": self._settings.lr_base}]

    def geometry_groups(self) -> list[dict]:
        """Return the parameter groups of identity, expression, jaw, pose and focal length."""
        s = self._settings
        base, places = [self._shape, self._jaw], []
        if not s.is_camera_known:
            base += [self._turn] if s.is_focal_known else [self._turn, self._log_zoom]
            places = [{"params": [self._shift], "lr": s.lr_translation * s.lr_geometry_scale}]
        return [
            {"params": base, "lr": s.lr_base * s.lr_geometry_scale},
            {"params": [self._expr], "lr": s.lr_expr * s.lr_geometry_scale},
            *places,
        ]

    def params(self, views: Sequence[int]) -> HeadParams:
        """Return the head parameters of some views."""
        rows = list(views)
        shape = self._shape.expand(len(rows), -1)
        moving = {"expr": self._expr, "jaw": self._jaw}
        values = {name: value.expand(self.n_views, -1)[rows] for name, value in moving.items()}
        return self._start[torch.tensor(rows, device=self._device)].replace(shape=shape, **values)

    def found(self, width: int, height: int) -> tuple[HeadParams, Camera]:
        """Return the head parameters and cameras of all views, for pictures of the given size, without gradients."""
        views = range(self.n_views)
        params, camera = self.params(views), self.camera(views).resized(width, height)
        values = {name: value.detach().clone() for name, value in params.tensors().items()}
        return params.replace(**values), Camera(camera.K.detach(), camera.viewmat.detach(), width, height)

    def camera(self, views: Sequence[int]) -> Camera:
        """Return the cameras of some views: the head rotates about the world's origin, which is its centre, and
        translates."""
        rows = list(views)
        turn = axis_angle_to_matrix(self._turn[rows])
        given = self._camera.viewmat[rows]
        upper = torch.cat([turn @ given[:, :3, :3], (given[:, :3, 3] + self._shift[rows])[..., None]], -1)
        viewmat = torch.cat([upper, given[:, 3:]], 1)
        zoom = torch.cat([self._log_zoom.exp(), self._log_zoom.exp(), torch.ones_like(self._log_zoom)])
        K = self._camera.K[rows]
        focal = torch.diag_embed(K.diagonal(dim1=-2, dim2=-1) * zoom)
        return Camera(focal + K - torch.diag_embed(K.diagonal(dim1=-2, dim2=-1)), viewmat, *self._size[::-1])

    @torch.no_grad()
    def paint(self) -> None:
        """Initialise the texture with the mean colour of the pictures at each texel."""
        size = self._settings.texture_size
        total, weight = (torch.zeros(size * size, *c, device=self._device) for c in ((3,), ()))
        for view in range(self.n_views):
            vertices, camera = self._pose([view])
            uv, _, seen = self._surface(vertices, camera, [view])
            column = (uv[:, 0] * size).long().clamp(0, size - 1)
            row = ((1 - uv[:, 1]) * size).long().clamp(0, size - 1)
            total.index_add_(0, row * size + column, seen)
            weight.index_add_(0, row * size + column, torch.ones_like(seen[:, 0]))
        mean = total.sum(0) / weight.sum().clamp_min(1)
        painted = (total + mean) / (weight[:, None] + 1)
        self.texture.copy_(painted.reshape(size, size, 3))

    def descend(self, groups: list[dict], n_steps: int) -> None:
        """Run Adam with a learning rate that decays to a tenth."""
        if not n_steps:
            return
        optimizer = torch.optim.Adam(groups)
        schedule = torch.optim.lr_scheduler.ExponentialLR(optimizer, FINAL_LR_SHARE ** (1 / n_steps))
        for step in range(n_steps):
            optimizer.zero_grad()
            loss = self.loss(self._drawn_views(len(groups), step))
            loss.backward()
            optimizer.step()
            schedule.step()

    def _drawn_views(self, stage: int, step: int) -> list[int]:
        rng = np.random.default_rng(item_seed(self._settings.seed, "photometric", stage, step))
        count = min(self._settings.views_per_step, self.n_views)
        return sorted(rng.choice(self.n_views, count, replace=False).tolist())

    def loss(self, views: list[int]) -> Tensor:
        """Return the objective over some views."""
        s = self._settings
        vertices, camera = self._pose(views)
        loss = s.photo * self._photo_loss(vertices, camera, views) + s.texture_tv * _roughness(self.texture)
        half_width = camera.width / 2
        projected = project(camera, landmarks(self._head, vertices))[0]
        difference = (projected - self._points[views]).abs().sum(-1) * self._weights[views]
        loss = loss + s.landmark * difference.sum() / self._weights[views].sum().clamp_min(1) / half_width
        loss = loss + s.silhouette * self._outside(vertices, camera, views) / half_width
        posed = self.params(views)
        priors = ((s.shape_prior, self._shape), (s.expr_prior, posed.expr), (s.jaw_prior, posed.jaw))
        return loss + sum((weight * value.square().mean() for weight, value in priors), torch.zeros_like(loss))

    @torch.no_grad()
    def photo_error(self) -> float:
        """Return the mean absolute difference of colours over all views."""
        views = list(range(self.n_views))
        return float(self._photo_loss(*self._pose(views), views))

    def _pose(self, views: list[int]) -> tuple[Tensor, Camera]:
        return pose_head(self._head, self.params(views)), self.camera(views)

    def _photo_loss(self, vertices: Tensor, camera: Camera, views: list[int]) -> Tensor:
        uv, normals, seen = self._surface(vertices, camera, views)
        drawn = sample_texture(self.texture, uv) * sh_irradiance(normals, self.light)
        return (drawn - seen).abs().mean()

    def _surface(self, vertices: Tensor, camera: Camera, views: list[int]) -> tuple[Tensor, Tensor, Tensor]:
        """Return texture coordinates [N, 2], unit normals [N, 3] and picture colours [N, 3] of the compared pixels."""
        head = self._head
        fragments = rasterize(vertices, head.faces, camera)
        is_used = fragments.mask & self._inside[views] & self._is_drawn[fragments.face_ids.clamp_min(0)]
        batch, rows, columns = is_used.nonzero(as_tuple=True)
        ids = fragments.face_ids[batch, rows, columns]
        weights = fragments.barycentrics[batch, rows, columns][..., None]
        normals = normalize(
            (vertex_normals(vertices, head.faces)[batch[:, None], head.faces[ids]] * weights).sum(1), dim=-1
        )
        place = (vertices[batch[:, None], head.faces[ids]] * weights).sum(1)
        towards = normalize(camera.centre[batch] - place, dim=-1)
        kept = ((normals * towards).sum(-1) > MIN_COSINE).nonzero()[:, 0]
        uv = (self._corner_uvs[ids] * weights).sum(1)
        colours = self._images[torch.tensor(views, device=self._device)[batch], rows, columns]
        if not self._settings.is_light_in_world:
            normals = (camera.viewmat[batch, :3, :3] @ normals[..., None])[..., 0]
        return uv[kept], normals[kept], colours[kept]

    def _outside(self, vertices: Tensor, camera: Camera, views: list[int]) -> Tensor:
        """Return the mean distance in pixels of the projected vertices from the foreground, clamped to the picture."""
        pixels, _ = project(camera, vertices)
        grid = 2 * pixels / pixels.new_tensor([camera.width, camera.height]) - 1
        distance = grid_sample(
            self._outside_px[views][:, None], grid[:, None], padding_mode="border", align_corners=False
        )
        return distance.mean()


def drawn_faces(head: HeadModel) -> Tensor:
    """Return the mask [F] bool of the triangles that are compared with the pictures."""
    drawn = head.vertex_mask(*DRAWN_REGIONS) & ~head.vertex_mask(*HIDDEN_REGIONS)
    return drawn[head.faces].all(-1)


def _distance_px(outside: np.ndarray) -> np.ndarray:
    """Return the distance [H, W] of each pixel from the nearest pixel that is not `outside`, 0 for those."""
    return np.asarray(distance_transform_edt(outside))


def _shared(values: Tensor) -> Tensor:
    """Return the common row [1, N] if all rows of [V, N] are equal, else `values` unchanged."""
    return values[:1] if bool((values == values[:1]).all()) else values


def _roughness(texture: Tensor) -> Tensor:
    down, right = texture[1:] - texture[:-1], texture[:, 1:] - texture[:, :-1]
    return down.square().mean() + right.square().mean()
