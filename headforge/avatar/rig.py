"""Gaussians bound to the triangles of a head model (Qian et al. 2024, "GaussianAvatars", section 3)."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import save
from torch import Tensor
from torch.nn.functional import normalize

from headforge.errors import DataError, ModelMismatchError
from headforge.flame.model import HeadModel, pose_head
from headforge.geometry.meshes import triangle_frames
from headforge.geometry.rotations import matrix_to_quat, quat_multiply
from headforge.guarded import guarded, open_safetensors, parse_json
from headforge.render.spherical_harmonics import eval_sh
from headforge.types import GaussianCloud, HeadParams

FORMAT = "headforge-avatar-1"
SH_C0 = 0.28209479177387814
"""The constant basis function: colour = SH_C0 * sh[0] + 0.5."""


@dataclass(frozen=True)
class Frames:
    """Triangle frames, one per Gaussian; they move the Gaussians with the head."""

    rotation: Tensor
    """[N, 3, 3]."""
    quat: Tensor
    """[N, 4] the same rotations, wxyz."""
    scale: Tensor
    """[N] metres."""
    centre: Tensor
    """[N, 3] metres."""


@dataclass(frozen=True)
class RiggedGaussians:
    """N Gaussians in the frames of their triangles; local lengths are in triangle sizes, colours are SH in the world.

    The world values of a Gaussian whose triangle has rotation R, scale s and centre T: mean s R mu + T, standard
    deviations s exp(sigma), rotation quat(R) q.
    """

    model_id: str
    binding: Tensor
    """[N] int64 triangle of the head model."""
    means: Tensor
    """[N, 3] mu."""
    log_scales: Tensor
    """[N, 3] sigma."""
    quats: Tensor
    """[N, 4] q, wxyz, of any non-zero length."""
    opacity_logits: Tensor
    """[N]."""
    sh: Tensor
    """[N, K, 3] spherical harmonics, K = 1, 4, 9 or 16; index 0 is the constant."""
    is_free: Tensor
    """[N] bool: hair, which may leave its triangle; the fit keeps the others near theirs."""

    def __len__(self) -> int:
        """Return the number of Gaussians."""
        return self.binding.shape[0]

    @property
    def sh_degree(self) -> int:
        """0 to 3."""
        return round(self.sh.shape[1] ** 0.5) - 1

    def tensors(self) -> dict[str, Tensor]:
        """Return the tensor fields by name, in declaration order."""
        return {f.name: getattr(self, f.name) for f in dataclasses.fields(self) if f.name != "model_id"}

    def replace(self, **changes: Tensor) -> RiggedGaussians:
        """Return a copy with some tensors replaced."""
        return dataclasses.replace(self, **changes)

    def to(self, device: torch.device | str) -> RiggedGaussians:
        """Return the same Gaussians on `device`."""
        return self.replace(**{name: value.to(device) for name, value in self.tensors().items()})

    def __getitem__(self, index: Tensor | slice) -> RiggedGaussians:
        """Return the chosen Gaussians."""
        return self.replace(**{name: value[index] for name, value in self.tensors().items()})

    def posed(self, head: HeadModel, params: HeadParams, eye: Tensor | None = None) -> GaussianCloud:
        """Return the cloud for unbatched params, coloured as seen from the camera centre `eye` [3].

        `eye` is needed only if K > 1. Raises ModelMismatchError for another head model than the one the Gaussians are
        bound to.
        """
        if self.model_id != head.model_id:
            raise ModelMismatchError(self.model_id, head.model_id)
        return self.on_mesh(posed_vertices(head, params), head.faces, eye)

    def on_mesh(self, vertices: Tensor, faces: Tensor, eye: Tensor | None = None) -> GaussianCloud:
        """Return the cloud on posed vertices [V, 3] with faces [F, 3]; differentiable, also in the vertices."""
        return self.in_frames(bound_frames(vertices, faces, self.binding), eye)

    def in_frames(self, frames: Frames, eye: Tensor | None = None) -> GaussianCloud:
        """Return the cloud in precomputed frames."""
        offset = (frames.rotation * self.means[:, None]).sum(-1)
        means = frames.scale[:, None] * offset + frames.centre
        return GaussianCloud(
            means=means,
            quats=quat_multiply(frames.quat, normalize(self.quats, dim=-1)),
            scales=self.log_scales.exp() * frames.scale[:, None],
            opacities=self.opacity_logits.sigmoid(),
            colors=self._colors(means.detach(), eye),
        )

    def _colors(self, means: Tensor, eye: Tensor | None) -> Tensor:
        degree = 0 if eye is None else self.sh_degree
        if degree == 0:
            return (self.sh[:, 0] * SH_C0 + 0.5).clamp_min(0)
        assert eye is not None
        return (eval_sh(degree, means - eye, self.sh) + 0.5).clamp_min(0)


def posed_vertices(head: HeadModel, params: HeadParams) -> Tensor:
    """Return the vertices [V, 3] for unbatched params."""
    batched = HeadParams(params.model_id, **{name: value[None] for name, value in params.tensors().items()})
    return pose_head(head, batched)[0]


def bound_frames(vertices: Tensor, faces: Tensor, binding: Tensor) -> Frames:
    """Return the frames [N] of the triangles binding [N] of a mesh with vertices [V, 3]."""
    # Per triangle first: a triangle has many Gaussians.
    rotation, scale, centre = triangle_frames(vertices, faces)
    return Frames(*(x[binding] for x in (rotation, matrix_to_quat(rotation), scale, centre)))


def to_local(points: Tensor, frames: Frames) -> Tensor:
    """Convert world points [N, 3] to local means: the inverse of `RiggedGaussians.in_frames`."""
    offset = (points - frames.centre) / frames.scale[:, None]
    return (frames.rotation.transpose(-1, -2) @ offset[..., None])[..., 0]


def rgb_to_dc(rgb: Tensor) -> Tensor:
    """Return the constant SH coefficient [*, 3] that shows the colour rgb [*, 3]."""
    return (rgb - 0.5) / SH_C0


def concatenate(parts: Sequence[RiggedGaussians]) -> RiggedGaussians:
    """Concatenate sets of Gaussians of the same head model and SH degree."""
    names = parts[0].tensors()
    return parts[0].replace(**{name: torch.cat([getattr(part, name) for part in parts]) for name in names})


def save_rigged(rigged: RiggedGaussians, path: Path, params: HeadParams, extra: Mapping[str, object]) -> None:
    """Write a .safetensors file: the Gaussians, `params` (the subject's own, unbatched) and JSON-able `extra`."""
    tensors = {name: value.detach().contiguous().cpu() for name, value in rigged.tensors().items()}
    tensors["is_free"] = tensors["is_free"].to(torch.uint8)
    tensors |= {f"params.{name}": value.detach().cpu().clone() for name, value in params.tensors().items()}
    header = {"format": FORMAT, "model_id": rigged.model_id, **extra}
    # One key only: the bytes must be reproducible, and safetensors does not fix the order of metadata keys.
    path.write_bytes(save(tensors, metadata={"headforge": json.dumps(header, sort_keys=True)}))


def load_rigged(path: Path) -> tuple[RiggedGaussians, HeadParams]:
    """Read a file of `save_rigged`: the Gaussians and the subject's own parameters.

    Raises DataError when the file is missing, damaged or not an avatar.
    """
    with open_safetensors(path, help="fit the subject again.") as file:
        header = dict(parse_json((file.metadata() or {}).get("headforge", "{}")))
        tensors = {name: file.get_tensor(name) for name in file.keys()}
    if header.get("format") != FORMAT:
        found = header.get("format", "no format at all")
        raise DataError(path, f"'{path}' is not an avatar: its format is '{found}', expected '{FORMAT}'.",
                        "give the avatar.safetensors of an avatar folder.")  # fmt: skip
    params = {name.removeprefix("params."): tensors.pop(name) for name in list(tensors) if name.startswith("params.")}
    with guarded(path, "a readable avatar", "fit the subject again."):
        tensors["is_free"] = tensors["is_free"].bool()
        return RiggedGaussians(header["model_id"], **tensors), HeadParams(header["model_id"], **params)
