"""Avatars packed for embedding in a web page, animated by sliders, for `templates/viewer.js`.

What moves: the joints by linear blend skinning, as the head model does it, and on top, for each control, an offset per
Gaussian that is added before the skinning and grows linearly with the slider. The offsets are taken from the rig at the
slider's end, so there the means are the rig's own but for quantisation; Gaussians turn with their joints and not with
their triangles.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize

from headforge.avatar.rig import RiggedGaussians
from headforge.errors import DataError
from headforge.flame.model import JOINTS, PARENTS, HeadModel, joint_rotations, joint_transforms, shaped_vertices
from headforge.geometry.cameras import focal_px_from_fov
from headforge.report.viewer_controls import Control, rest_params, rotation_rows, with_control
from headforge.types import HeadParams

FORMAT = 1
"""Version of the payload; viewer.js refuses another."""
DEFLATE_LEVEL = 9


@dataclass(frozen=True)
class Viewpoint:
    """The viewpoint an avatar was fitted from."""

    distance_m: float
    fov_deg: float
    """Over the picture's height."""
    size_px: int
    """The picture's height."""
    eps2d: float = 0.3
    """Added by the renderer to projected variances, square pixels."""

    @property
    def blur_m(self) -> float:
        """The renderer's blur as a length at the head.

        The viewer keeps this length, so that a larger canvas does not show the Gaussians thinner than they were fitted.
        """
        return self.eps2d**0.5 * self.distance_m / focal_px_from_fov(self.fov_deg, self.size_px)


@dataclass(frozen=True)
class PackedAvatar:
    """An avatar as the page embeds it: JSON `meta` and the deflated planes."""

    meta: Mapping[str, object]
    payload: bytes
    n_gaussians: int
    n_left_out: int
    """Count of the least visible Gaussians dropped to stay within the limit."""


@dataclass(frozen=True)
class UnpackedAvatar:
    """A packed avatar read back, as viewer.js holds it in memory. All float32."""

    means: np.ndarray
    """[N, 3] metres, rest pose."""
    scales: np.ndarray
    """[N, 3] metres."""
    quats: np.ndarray
    """[N, 4] wxyz, unit length."""
    colors: np.ndarray
    """[N, 3] in [0, 1]."""
    opacities: np.ndarray
    """[N]."""
    skin_weights: np.ndarray
    """[N, 5] in the order of `JOINTS`."""
    offsets: np.ndarray
    """[C, N, 3] metres, at the slider's value 1."""
    joints: np.ndarray
    """[5, 3] metres."""
    rotations: np.ndarray
    """[C, 5, 3] axis-angle at the slider's value 1."""

    def posed_means(self, values: Sequence[float]) -> np.ndarray:
        """Return [N, 3] means for one value per control: the arithmetic of viewer.js."""
        weights = np.asarray(values, np.float32)
        moved = self.means + np.tensordot(weights, self.offsets, 1)
        angles = np.tensordot(weights, self.rotations, 1)
        blended = blend_transforms(
            torch.from_numpy(angles), torch.from_numpy(self.joints), torch.from_numpy(self.skin_weights)
        ).numpy()
        return np.einsum("nrc,nc->nr", blended[..., :3], moved) + blended[..., 3]


def blend_transforms(angles: Tensor, joints: Tensor, skin_weights: Tensor) -> Tensor:
    """Return rest-to-posed transforms [N, 3, 4] for joint angles [5, 3], joints [5, 3] and skin_weights [N, 5]."""
    pose = HeadParams(
        "", angles.new_zeros(1, 0), angles.new_zeros(1, 0), angles[None, 0], angles[None, 1], angles[None, 2],
        angles[None, 3:].flatten(1), angles.new_zeros(1, 3),
    )  # fmt: skip
    transforms = joint_transforms(joint_rotations(pose), joints[None])[0]
    return torch.einsum("nj,jrc->nrc", skin_weights, transforms)


def pack_avatar(
    rigged: RiggedGaussians,
    head: HeadModel,
    own: HeadParams,
    viewpoint: Viewpoint,
    controls: Sequence[Control],
    max_gaussians: int = 60_000,
) -> PackedAvatar:
    """Pack an avatar; `own` are the unbatched parameters of its subject."""
    rest = rest_params(own)
    cloud = rigged.posed(head, rest)
    kept = most_visible(cloud.opacities, cloud.scales, max_gaussians)
    n_left_out = len(rigged) - len(kept)
    rigged = rigged[kept]
    cloud = rigged.posed(head, rest)
    weights = quantised_weights(head.skin_weights[head.faces[rigged.binding]].mean(1))
    joints = head.joint_regressor @ shaped_vertices(head, rest.shape[None], rest.expr[None])[0]
    offsets = [control_offsets(rigged, head, rest, c, joints, weights / 255) for c in controls]
    low, size = _bounds(cloud.means)
    log_scales = cloud.scales.clamp_min(1e-7).log()
    log_low, log_high = float(log_scales.min()), float(log_scales.max())
    steps = [max(float(o.abs().max()), 1e-9) / 127 for o in offsets]
    planes = [
        _to_uint((cloud.means - low) / size, 65535, np.dtype("<u2")),
        _to_uint((log_scales - log_low) / max(log_high - log_low, 1e-9), 255, np.uint8),
        _to_int8(normalize(cloud.quats, dim=-1), 1 / 127),
        _to_uint(cloud.colors, 255, np.uint8),
        _to_uint(cloud.opacities[:, None], 255, np.uint8),
        weights[:, 1:].numpy().astype(np.uint8),
        *(_to_int8(o, step) for o, step in zip(offsets, steps, strict=True)),
    ]
    raw = b"".join(np.ascontiguousarray(plane.T).tobytes() for plane in planes)
    meta = {
        "format": FORMAT,
        "n": len(rigged),
        "position": {"low": _numbers(low), "size": _numbers(size)},
        "log_scale": {"low": _number(log_low), "high": _number(log_high)},
        "joints": [_numbers(j) for j in joints],
        "parents": list(PARENTS),
        "controls": [_control_meta(c, step) for c, step in zip(controls, steps, strict=True)],
        "view": _view_meta(viewpoint),
    }
    return PackedAvatar(meta, zlib.compress(raw, DEFLATE_LEVEL), len(rigged), n_left_out)


def unpack_avatar(meta: Mapping[str, object], payload: bytes) -> UnpackedAvatar:
    """Unpack the result of `pack_avatar` as viewer.js does, for tests and other readers.

    Raises DataError for a payload of another format or length.
    """
    data: dict = dict(meta)
    raw = zlib.decompress(payload)
    n, controls = data["n"], data["controls"]
    expected = n * (6 + 3 + 4 + 3 + 1 + 4 + 3 * len(controls))
    if data["format"] != FORMAT or len(raw) != expected:
        raise DataError(
            "viewer payload",
            f"the payload has format {data['format']} and {len(raw)} bytes, expected {FORMAT} and {expected}.",
            "pack the avatar again with this version.",
        )
    reader = _PlaneReader(raw, n)
    low, size = np.array(data["position"]["low"], np.float32), np.array(data["position"]["size"], np.float32)
    means = low + reader.take(np.dtype("<u2"), 3) / np.float32(65535) * size
    log_low, log_high = data["log_scale"]["low"], data["log_scale"]["high"]
    scales = np.exp(log_low + reader.take(np.uint8, 3) / np.float32(255) * (log_high - log_low))
    quats = reader.take(np.int8, 4).astype(np.float32)
    quats /= np.maximum(np.linalg.norm(quats, axis=1, keepdims=True), 1e-9)
    colors = reader.take(np.uint8, 3) / np.float32(255)
    opacities = reader.take(np.uint8, 1)[:, 0] / np.float32(255)
    others = reader.take(np.uint8, 4) / np.float32(255)
    offsets = [reader.take(np.int8, 3) * np.float32(c["offset_step"]) for c in controls]
    return UnpackedAvatar(
        means.astype(np.float32),
        scales.astype(np.float32),
        quats,
        colors,
        opacities,
        np.concatenate([1 - others.sum(1, keepdims=True), others], 1).astype(np.float32),
        np.stack(offsets).astype(np.float32) if offsets else np.zeros((0, n, 3), np.float32),
        np.array(data["joints"], np.float32),
        np.array([c["rotations"] for c in controls], np.float32).reshape(-1, len(JOINTS), 3),
    )


def control_offsets(
    rigged: RiggedGaussians, head: HeadModel, rest: HeadParams, control: Control, joints: Tensor, skin_weights: Tensor
) -> Tensor:
    """Return [N, 3] offsets before skinning that take the skinned rest means to the rig's, at the slider's value 1."""
    target = rigged.posed(head, with_control(rest, control, 1.0)).means
    blended = blend_transforms(torch.from_numpy(rotation_rows(control)), joints, skin_weights)
    unposed = torch.linalg.solve(blended[..., :3], (target - blended[..., 3])[..., None])[..., 0]
    return unposed - rigged.posed(head, rest).means


def most_visible(opacities: Tensor, scales: Tensor, limit: int) -> Tensor:
    """Return ids [<= limit], ascending, of the Gaussians with the largest opacity times projected area."""
    if len(opacities) <= limit:
        return torch.arange(len(opacities))
    two_largest = scales.sort(-1, descending=True).values[:, :2]
    visibility = opacities * two_largest.prod(-1)
    return visibility.argsort(descending=True, stable=True)[:limit].sort().values


def quantised_weights(weights: Tensor) -> Tensor:
    """Return skin weights [N, 5] as integer multiples of 1/255 that sum to 255 (the root takes the remainder)."""
    others = (weights[:, 1:] * 255).round().clamp(0, 255)
    # Rounding up twice can exceed 255; the largest weight is reduced, so that the root's stays at least 0.
    excess = (others.sum(1) - 255).clamp_min(0)
    largest = others.argmax(1, keepdim=True)
    others = others.scatter_add(1, largest, -excess[:, None])
    return torch.cat([255 - others.sum(1, keepdim=True), others], 1)


@dataclass
class _PlaneReader:
    """Reader of consecutive planes [C, N], returned as [N, C]."""

    raw: bytes
    n: int
    offset: int = 0

    def take(self, dtype: np.dtype | type, channels: int) -> np.ndarray:
        """Return the next `channels` planes."""
        values = np.frombuffer(self.raw, dtype, self.n * channels, self.offset)
        self.offset += values.nbytes
        return values.reshape(channels, self.n).T


def _control_meta(control: Control, offset_step: float) -> dict[str, object]:
    return {
        "label": control.label,
        "min": control.minimum,
        "initial": control.initial,
        "in_show": control.in_show,
        "rotations": rotation_rows(control).round(6).tolist(),
        "offset_step": _number(offset_step),
    }


def _view_meta(viewpoint: Viewpoint) -> dict[str, object]:
    return {
        "target": [0.0, 0.0, 0.0],
        "distance_m": _number(viewpoint.distance_m),
        "fov_deg": _number(viewpoint.fov_deg),
        "blur_m": _number(viewpoint.blur_m),
    }


def _bounds(points: Tensor) -> tuple[Tensor, Tensor]:
    low, high = points.amin(0), points.amax(0)
    return low, (high - low).clamp_min(1e-6)


def _to_uint(values: Tensor, top: int, dtype: np.dtype | type) -> np.ndarray:
    return (values.detach().clamp(0, 1) * top).round().numpy().astype(dtype)


def _to_int8(values: Tensor, step: float) -> np.ndarray:
    return (values.detach() / step).round().clamp(-127, 127).numpy().astype(np.int8)


def _number(value: float) -> float:
    return float(f"{value:.9g}")


def _numbers(values: Tensor) -> list[float]:
    return [_number(float(v)) for v in values]
