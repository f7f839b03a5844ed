"""Data types shared by all parts of headforge.

Conventions (docs/conventions.md has the whole page): camera axes as OpenCV (x right, y down, z forward), viewmat is
world to camera, K in pixels with pixel centres at +0.5; world y up, face towards +z, subject's left +x, metres;
rotations as axis-angle vectors in radians; quaternions wxyz; colour float RGB in [0, 1], sRGB as stored.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True)
class Camera:
    """Pinhole cameras with any leading batch shape `*`."""

    K: Tensor
    """[*, 3, 3] intrinsics in pixels."""
    viewmat: Tensor
    """[*, 4, 4] world to camera, OpenCV axes."""
    width: int
    height: int

    def resized(self, width: int, height: int) -> Camera:
        """Return the same camera for an image resized to `width` x `height`."""
        scale = self.K.new_tensor([width / self.width, height / self.height, 1.0])
        return Camera(self.K * scale[:, None], self.viewmat, width, height)

    def __getitem__(self, index: int | slice | Tensor) -> Camera:
        """Index the leading batch dimension."""
        return Camera(self.K[index], self.viewmat[index], self.width, self.height)

    def to(self, device: torch.device | str) -> Camera:
        """Return the same cameras on `device`."""
        return Camera(self.K.to(device), self.viewmat.to(device), self.width, self.height)

    @property
    def centre(self) -> Tensor:
        """[*, 3] camera centre in the world."""
        rotation, translation = self.viewmat[..., :3, :3], self.viewmat[..., :3, 3]
        return -(rotation.transpose(-1, -2) @ translation[..., None])[..., 0]

    @staticmethod
    def stack(cameras: Sequence[Camera]) -> Camera:
        """Return one batched camera from several of the same size."""
        first = cameras[0]
        return Camera(
            torch.stack([c.K for c in cameras]),
            torch.stack([c.viewmat for c in cameras]),
            first.width,
            first.height,
        )


HEAD_PARAM_SIZES: Mapping[str, int] = {"rotation": 3, "neck": 3, "jaw": 3, "eyes": 6, "translation": 3}
"""Fields of `HeadParams` whose size does not depend on the head model."""
NO_HEAD_MODEL = "none"
"""`model_id` of unknown parameters."""


@dataclass(frozen=True)
class HeadParams:
    """Parameters of one head model, FLAME's layout, with any leading batch shape `*`."""

    model_id: str
    """The head model these belong to; posing with another raises `ModelMismatchError`."""
    shape: Tensor
    """[*, n_shape] identity coefficients, in standard deviations."""
    expr: Tensor
    """[*, n_expr] expression coefficients."""
    rotation: Tensor
    """[*, 3] global rotation about the root joint, axis-angle, radians."""
    neck: Tensor
    """[*, 3] axis-angle."""
    jaw: Tensor
    """[*, 3] axis-angle; jaw[0] > 0 opens the mouth."""
    eyes: Tensor
    """[*, 6] axis-angle, left eye then right eye."""
    translation: Tensor
    """[*, 3] metres, added after skinning."""

    @staticmethod
    def neutral(
        model_id: str, n_shape: int, n_expr: int, batch: tuple[int, ...] = (), device: torch.device | str | None = None
    ) -> HeadParams:
        """Return all-zero parameters: the mean head, eyes ahead, mouth shut."""
        sizes = {"shape": n_shape, "expr": n_expr, **HEAD_PARAM_SIZES}
        zeros = {name: torch.zeros(*batch, size, device=device) for name, size in sizes.items()}
        return HeadParams(model_id, **zeros)

    @staticmethod
    def unknown() -> HeadParams:
        """Return unknown parameters: all tensors are empty, and posing with them raises `ModelMismatchError`."""
        sizes = ("shape", "expr", *HEAD_PARAM_SIZES)
        return HeadParams(NO_HEAD_MODEL, **{name: torch.zeros(0, device="cpu") for name in sizes})

    def tensors(self) -> dict[str, Tensor]:
        """Return the tensor fields by name, in declaration order."""
        return {f.name: getattr(self, f.name) for f in dataclasses.fields(self) if f.name != "model_id"}

    def to(self, device: torch.device | str) -> HeadParams:
        """Return the same parameters on `device`."""
        return HeadParams(self.model_id, **{name: value.to(device) for name, value in self.tensors().items()})

    def __getitem__(self, index: int | slice | Sequence[int] | Tensor) -> HeadParams:
        """Index the leading batch dimension."""
        return HeadParams(self.model_id, **{name: value[index] for name, value in self.tensors().items()})

    def replace(self, **changes: Tensor) -> HeadParams:
        """Return a copy with some fields replaced."""
        return dataclasses.replace(self, **changes)

    @staticmethod
    def stack(params: Sequence[HeadParams]) -> HeadParams:
        """Return one batched value from several of the same head model."""
        names = params[0].tensors()
        return HeadParams(
            params[0].model_id, **{name: torch.stack([getattr(p, name) for p in params]) for name in names}
        )


@dataclass(frozen=True)
class Sample:
    """One view of one subject: a row of a dataset, decoded. Arrays, and tensors on the CPU."""

    subject_id: str
    view: int
    split: str
    """"train" or "test", by identity."""
    source: str
    """"real" or "synthetic": the domain the picture belongs to."""
    seed: int
    image: np.ndarray
    """[H, W, 3] uint8."""
    mask: np.ndarray
    """[H, W] uint8, foreground coverage."""
    camera: Camera
    """Unbatched."""
    params: HeadParams
    """Unbatched."""
    yaw_deg: float
    """True azimuth of the camera about the head; positive towards the subject's left."""
    pitch_deg: float
    """True elevation of the camera; positive above."""
    quality: Mapping[str, float] = field(default_factory=dict)
    attributes: Mapping[str, str] = field(default_factory=dict)
    """The subject's attributes from the generator, such as {"hair": "long"}."""
    timestep: int | None = None
    """Number of the moment in a film or a rig, whose cameras share moments; None for single pictures."""
    camera_id: str | None = None
    """The subject's fixed camera that took it; None if each view has a camera of its own."""


@dataclass(frozen=True)
class GaussianCloud:
    """N Gaussians in world space, ready for splatting."""

    means: Tensor
    """[N, 3] metres."""
    quats: Tensor
    """[N, 4] wxyz, normalised by the renderer."""
    scales: Tensor
    """[N, 3] standard deviations in metres."""
    opacities: Tensor
    """[N] in [0, 1]."""
    colors: Tensor
    """[N, C] channels as they are composited (RGB in [0, 1] for pictures)."""

    def to(self, device: torch.device | str) -> GaussianCloud:
        """Return the same Gaussians on `device`."""
        return GaussianCloud(*(getattr(self, f.name).to(device) for f in dataclasses.fields(self)))


@dataclass(frozen=True)
class Track:
    """Tracking result of one view: a row of a tracks table."""

    subject_id: str
    view: int
    status: str
    """"ok" or "rejected"."""
    reason: str
    """Why it was rejected; empty if it was not."""
    camera: Camera
    """Estimated, unbatched, for the full-size image of the dataset."""
    params: HeadParams
    """Estimated, unbatched."""
    residual_px: float
    """Root mean square over the landmarks used, pixels of the full-size image."""
    n_landmarks: int
    """Number of landmarks used."""


@dataclass(frozen=True)
class Prediction:
    """A method's picture of one view, for comparison with the dataset's own."""

    subject_id: str
    view: int
    method: str
    """Such as "control_tracked", "control_exact", "copy", "reproject_tracked", "avatar_tracked"."""
    reference_view: int
    """The view given to the method as reference; -1 for several."""
    image: np.ndarray
    """[H, W, 3] uint8; may be smaller than the truth, which is then averaged down."""


@dataclass(frozen=True)
class MethodOutput:
    """Names of a method of the stage `train` or `fit`, and the folder of its results."""

    name: str
    """Name in `train.models` or `fit.methods` of params.yaml."""
    title: str
    """Title in the report."""
    label: str
    """Its `Prediction`s have the methods "<label>_tracked" and "<label>_exact"."""
    folder: str
    """Folder below the stage's; empty if its results lie directly in that one."""
    prefix: str
    """Prefix of the names of its entries in metrics.json."""

    @property
    def tracked(self) -> str:
        """Method name of its pictures with tracked parameters."""
        return f"{self.label}_tracked"

    @property
    def exact(self) -> str:
        """Method name of its pictures with exact parameters."""
        return f"{self.label}_exact"
