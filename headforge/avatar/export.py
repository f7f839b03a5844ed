"""Import and export of avatars: GaussianAvatars' PLY and parameters, 3DGS PLY, SPZ.

Writers give the same bytes for the same values on every device; readers return tensors on the CPU.
"""

from __future__ import annotations

import gzip
import struct
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from headforge.avatar.rig import RiggedGaussians, rgb_to_dc
from headforge.errors import DataError
from headforge.guarded import guarded, read_npz
from headforge.store.exchange.formats.flame_params import PARAM_KEYS
from headforge.types import GaussianCloud, HeadParams

GA_REST = 45
"""Higher SH coefficients in GaussianAvatars' files: its reader requires degree 3 for every fitted degree."""
SPZ_MAGIC, SPZ_VERSION, SPZ_FRACTION_BITS = 0x5053474E, 3, 12
SPZ_COLOR_SCALE = 0.15
"""SPZ stores an SH constant c as c * 0.15 * 255 + 127.5."""
SPZ_ROTATION_MAX = 511
GZIP_LEVEL = 6


def write_rigged_ply(path: Path, rigged: RiggedGaussians) -> None:
    """Write GaussianAvatars' point_cloud.ply: local values, `binding_0` as float, 45 higher SH coefficients.

    Ordinary splat viewers can't show local values; write files for them with `write_posed_ply`.
    """
    n, rigged = len(rigged), rigged.to("cpu")
    rest = torch.zeros(n, 3, GA_REST // 3, device="cpu")
    rest[..., : rigged.sh.shape[1] - 1] = rigged.sh[:, 1:].transpose(1, 2)
    columns = {
        **_named("x y z", rigged.means),
        **_named("nx ny nz", torch.zeros(n, 3, device="cpu")),
        **_named([f"f_dc_{i}" for i in range(3)], rigged.sh[:, 0]),
        **_named([f"f_rest_{i}" for i in range(GA_REST)], rest.flatten(1)),
        **_named("opacity", rigged.opacity_logits[:, None]),
        **_named([f"scale_{i}" for i in range(3)], rigged.log_scales),
        **_named([f"rot_{i}" for i in range(4)], rigged.quats),
        **_named("binding_0", rigged.binding[:, None]),
    }
    _write_ply(path, columns)


def read_rigged_ply(path: Path, model_id: str) -> RiggedGaussians:
    """Read a file of `write_rigged_ply` or of GaussianAvatars, bound to the head model `model_id`.

    SH has degree 3, and no Gaussian is free (the format does not store this).
    """
    c = _read_ply(path)
    n = len(c["x"])
    rest = _stack(c, [f"f_rest_{i}" for i in range(sum(k.startswith("f_rest") for k in c))])
    sh = torch.cat([_stack(c, [f"f_dc_{i}" for i in range(3)])[:, None], rest.unflatten(1, (3, -1)).transpose(1, 2)], 1)
    return RiggedGaussians(
        model_id=model_id,
        binding=_stack(c, ["binding_0"])[:, 0].long(),
        means=_stack(c, ["x", "y", "z"]),
        log_scales=_stack(c, [f"scale_{i}" for i in range(3)]),
        quats=_stack(c, [f"rot_{i}" for i in range(4)]),
        opacity_logits=_stack(c, ["opacity"])[:, 0],
        sh=sh.contiguous(),
        is_free=torch.zeros(n, dtype=torch.bool, device="cpu"),
    )


def write_flame_params(path: Path, params: HeadParams, n_vertices: int) -> None:
    """Write GaussianAvatars' flame_param.npz for params [T] of one subject: per-frame arrays, one shape, no offsets."""
    arrays: dict[str, Any] = {
        PARAM_KEYS[name]: value.cpu().numpy().astype(np.float32) for name, value in params.tensors().items()
    }
    arrays["shape"] = arrays["shape"][0]
    n_frames = len(arrays["expr"])
    arrays["static_offset"] = np.zeros((1, n_vertices, 3), np.float32)
    arrays["dynamic_offset"] = np.zeros((n_frames, n_vertices, 3), np.float32)
    np.savez_compressed(path, **arrays)


def read_flame_params(path: Path, model_id: str) -> HeadParams:
    """Read params [T] from a flame_param.npz; its offsets are ignored."""
    arrays = read_npz(path)
    with guarded(path, "readable head parameters"):
        values = {name: torch.from_numpy(arrays[key].astype(np.float32)) for name, key in PARAM_KEYS.items()}
    values["shape"] = values["shape"].expand(len(values["expr"]), -1)
    return HeadParams(model_id, **values)


def write_posed_ply(path: Path, cloud: GaussianCloud) -> None:
    """Write a 3D Gaussian splatting PLY of degree 0 in world space, for splat viewers."""
    columns = {
        **_named("x y z", cloud.means),
        **_named([f"f_dc_{i}" for i in range(3)], rgb_to_dc(cloud.colors)),
        **_named("opacity", torch.logit(cloud.opacities, eps=1e-6)[:, None]),
        **_named([f"scale_{i}" for i in range(3)], cloud.scales.log()),
        **_named([f"rot_{i}" for i in range(4)], torch.nn.functional.normalize(cloud.quats, dim=-1)),
    }
    _write_ply(path, columns)


def read_posed_ply(path: Path) -> GaussianCloud:
    """Read a splat PLY; only the constant colour is kept."""
    c = _read_ply(path)
    from_dc = _stack(c, [f"f_dc_{i}" for i in range(3)])
    return GaussianCloud(
        means=_stack(c, ["x", "y", "z"]),
        quats=_stack(c, [f"rot_{i}" for i in range(4)]),
        scales=_stack(c, [f"scale_{i}" for i in range(3)]).exp(),
        opacities=_stack(c, ["opacity"])[:, 0].sigmoid(),
        colors=0.5 + from_dc / float(rgb_to_dc(torch.tensor(1.5, device="cpu"))),
    )


def _named(names: str | list[str], values: Tensor) -> dict[str, np.ndarray]:
    names = names.split() if isinstance(names, str) else names
    array = values.detach().cpu().numpy().astype("<f4")
    return {name: array[:, i] for i, name in enumerate(names)}


def _write_ply(path: Path, columns: dict[str, np.ndarray]) -> None:
    n = len(next(iter(columns.values())))
    lines = ["ply", "format binary_little_endian 1.0", f"element vertex {n}"]
    lines += [f"property float {name}" for name in columns] + ["end_header", ""]
    table = np.stack(list(columns.values()), axis=1).astype("<f4")
    path.write_bytes("\n".join(lines).encode() + table.tobytes())


def _read_ply(path: Path) -> dict[str, np.ndarray]:
    """Read the columns of a binary little endian PLY with one element of float32 properties."""
    data = path.read_bytes()
    head, separator, body = data.partition(b"end_header\n")
    lines = head.decode("ascii", "replace").splitlines()
    elements = [line.split() for line in lines if line.startswith("element")]
    properties = [line.split() for line in lines if line.startswith("property")]
    known = separator and "format binary_little_endian 1.0" in lines and len(elements) == 1
    if not known or any(p[1] not in ("float", "float32") for p in properties):
        raise DataError(path, f"'{path}' is not a splat PLY (binary little endian, one element of floats).",
                        "give a point_cloud.ply or posed.ply.")  # fmt: skip
    n, names = int(elements[0][2]), [p[2] for p in properties]
    if len(body) != 4 * n * len(names):
        raise DataError(path, f"'{path}' holds {len(body)} bytes of values, its header declares {4 * n * len(names)}.",
                        "make the file again.")  # fmt: skip
    table = np.frombuffer(body, "<f4").reshape(n, len(names))
    return {name: table[:, i] for i, name in enumerate(names)}


def _stack(columns: dict[str, np.ndarray], names: list[str]) -> Tensor:
    return torch.from_numpy(np.stack([columns[name] for name in names], axis=1).astype(np.float32))


def write_spz(path: Path, cloud: GaussianCloud) -> None:
    """Write Niantic's SPZ version 3 (gzip, degree 0): 24-bit positions, 8-bit colours, opacities and sizes.

    SPZ's axes are right, up, back, as are ours when the head faces the viewer: no axis is flipped.
    """
    n = len(cloud.means)
    header = struct.pack("<IIIBBBB", SPZ_MAGIC, SPZ_VERSION, n, 0, SPZ_FRACTION_BITS, 0, 0)
    cloud = cloud.to("cpu")
    fixed = np.round(cloud.means.numpy().astype(np.float64) * 2**SPZ_FRACTION_BITS).astype("<i4")
    positions = np.ascontiguousarray(fixed).view(np.uint8).reshape(n, 3, 4)[..., :3]
    streams = [
        positions,
        _to_bytes(cloud.opacities.numpy() * 255),
        _to_bytes(rgb_to_dc(cloud.colors).numpy() * SPZ_COLOR_SCALE * 255 + 127.5),
        _to_bytes((cloud.scales.log().numpy() + 10) * 16),
        _pack_rotations(cloud.quats.numpy()),
    ]
    data = header + b"".join(np.ascontiguousarray(stream).tobytes() for stream in streams)
    path.write_bytes(gzip.compress(data, compresslevel=GZIP_LEVEL, mtime=0))


def _to_bytes(values: np.ndarray) -> np.ndarray:
    return np.clip(np.round(values), 0, 255).astype(np.uint8)


def _pack_rotations(quats: np.ndarray) -> np.ndarray:
    """Pack rotations as [N, 4] bytes: 2 bits for the largest of x, y, z, w, then sign and 9-bit size of the others."""
    q = quats[:, [1, 2, 3, 0]].astype(np.float64)
    q /= np.linalg.norm(q, axis=1, keepdims=True)
    largest = np.abs(q).argmax(1)
    q *= np.where(np.take_along_axis(q, largest[:, None], 1) < 0, -1, 1)
    packed = largest.astype(np.uint32)
    for axis in range(4):
        size = np.round(np.abs(q[:, axis]) * np.sqrt(2) * SPZ_ROTATION_MAX).clip(0, SPZ_ROTATION_MAX).astype(np.uint32)
        value = (packed << 10) | ((q[:, axis] < 0).astype(np.uint32) << 9) | size
        packed = np.where(largest == axis, packed, value)
    return packed.astype("<u4").view(np.uint8).reshape(-1, 4)


def _unpack_rotations(data: np.ndarray) -> np.ndarray:
    packed = np.ascontiguousarray(data).view("<u4")[:, 0].astype(np.uint32)
    largest = packed >> 30
    q = np.zeros((len(packed), 4))
    for axis in (3, 2, 1, 0):
        size = (packed & SPZ_ROTATION_MAX) / SPZ_ROTATION_MAX / np.sqrt(2)
        value = np.where((packed >> 9) & 1, -size, size)
        is_stored = largest != axis
        q[:, axis] = np.where(is_stored, value, 0)
        packed = np.where(is_stored, packed >> 10, packed)
    rest = np.sqrt(np.clip(1 - (q**2).sum(1), 0, None))
    q[np.arange(len(q)), largest] = rest
    return q[:, [3, 0, 1, 2]]


def read_spz(path: Path) -> GaussianCloud:
    """Read a version 3 SPZ file; only the constant colour is kept."""
    try:
        data = gzip.decompress(path.read_bytes())
        magic, version, n, _, bits, _, _ = struct.unpack_from("<IIIBBBB", data)
    except (OSError, EOFError, struct.error) as error:
        raise DataError(path, f"'{path}' is not a gzip SPZ file: {error}.", "give a version 3 .spz file.") from error
    if magic != SPZ_MAGIC or version != SPZ_VERSION:
        raise DataError(path, f"'{path}' has magic {magic:#x} and version {version}.", "give a version 3 .spz file.")
    sizes, offset, streams = (9, 1, 3, 3, 4), 16, []
    for size in sizes:
        streams.append(np.frombuffer(data, np.uint8, n * size, offset).reshape(n, size))
        offset += n * size
    positions, alphas, colors, scales, rotations = streams
    wide = np.zeros((n, 3, 4), np.uint8)
    wide[..., :3] = positions.reshape(n, 3, 3)
    wide[..., 3] = np.where(wide[..., 2] & 0x80, 255, 0)
    to = torch.from_numpy
    dc = (colors.astype(np.float32) - 127.5) / 255 / SPZ_COLOR_SCALE
    return GaussianCloud(
        means=to((wide.view("<i4")[..., 0] / 2**bits).astype(np.float32)),
        quats=to(_unpack_rotations(rotations).astype(np.float32)),
        scales=to(scales.astype(np.float32) / 16 - 10).exp(),
        opacities=to(alphas[:, 0].astype(np.float32) / 255),
        colors=0.5 + to(dc) / float(rgb_to_dc(torch.tensor(1.5, device="cpu"))),
    )
