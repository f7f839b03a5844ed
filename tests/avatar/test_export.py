"""Files of other programs."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path

import numpy as np
import pytest
import torch

from headforge.avatar.export import (
    read_flame_params,
    read_posed_ply,
    read_rigged_ply,
    read_spz,
    write_flame_params,
    write_posed_ply,
    write_rigged_ply,
    write_spz,
)
from headforge.errors import DataError
from headforge.geometry.rotations import quat_to_matrix
from tests.avatar.scenes import moving_params, random_gaussians
from tests.heads import tiny_head

HEAD = tiny_head()


def test_rigged_ply_has_the_official_layout(tmp_path: Path) -> None:
    path = tmp_path / "point_cloud.ply"
    rigged = random_gaussians(HEAD, 12)
    write_rigged_ply(path, rigged)
    header, _, body = path.read_bytes().partition(b"end_header\n")
    names = [line.split()[2] for line in header.decode().splitlines() if line.startswith("property float")]
    expected = ["x", "y", "z", "nx", "ny", "nz", "f_dc_0", "f_dc_1", "f_dc_2", *(f"f_rest_{i}" for i in range(45)),
                "opacity", "scale_0", "scale_1", "scale_2", "rot_0", "rot_1", "rot_2", "rot_3",
                "binding_0"]  # fmt: skip
    assert names == expected
    assert b"format binary_little_endian 1.0\nelement vertex 12\n" in header
    table = np.frombuffer(body, "<f4").reshape(12, len(expected))
    np.testing.assert_array_equal(table[:, -1], rigged.binding.numpy())
    np.testing.assert_array_equal(table[:, :3], rigged.means.numpy())


@pytest.mark.parametrize("degree", [0, 1, 3])
def test_rigged_ply_round_trip(tmp_path: Path, degree: int) -> None:
    rigged = random_gaussians(HEAD, sh_degree=degree)
    write_rigged_ply(tmp_path / "a.ply", rigged)
    read = read_rigged_ply(tmp_path / "a.ply", HEAD.model_id)
    for name in ("binding", "means", "log_scales", "quats", "opacity_logits"):
        assert torch.equal(getattr(read, name), getattr(rigged, name)), name
    assert torch.equal(read.sh[:, : rigged.sh.shape[1]], rigged.sh)
    assert not read.sh[:, rigged.sh.shape[1] :].any()


def test_sh_is_stored_channel_by_channel(tmp_path: Path) -> None:
    rigged = random_gaussians(HEAD, 1, sh_degree=3)
    write_rigged_ply(tmp_path / "a.ply", rigged)
    body = (tmp_path / "a.ply").read_bytes().partition(b"end_header\n")[2]
    row = np.frombuffer(body, "<f4")
    np.testing.assert_array_equal(row[9:24], rigged.sh[0, 1:, 0].numpy())


def test_flame_params_have_the_official_keys(tmp_path: Path) -> None:
    params = moving_params(HEAD, 4)
    write_flame_params(tmp_path / "flame_param.npz", params, HEAD.n_vertices)
    with np.load(tmp_path / "flame_param.npz", allow_pickle=False) as file:
        shapes = {name: file[name].shape for name in file.files}
    n = HEAD.n_vertices
    assert shapes == {
        "shape": (HEAD.n_shape,), "expr": (4, HEAD.n_expr), "rotation": (4, 3), "neck_pose": (4, 3),
        "jaw_pose": (4, 3), "eyes_pose": (4, 6), "translation": (4, 3), "static_offset": (1, n, 3),
        "dynamic_offset": (4, n, 3),
    }  # fmt: skip
    read = read_flame_params(tmp_path / "flame_param.npz", HEAD.model_id)
    assert all(torch.equal(value, read.tensors()[name]) for name, value in params.tensors().items())


def test_posed_ply_round_trip(tmp_path: Path) -> None:
    cloud = random_gaussians(HEAD).posed(HEAD, HEAD.neutral())
    write_posed_ply(tmp_path / "posed.ply", cloud)
    assert b"binding" not in (tmp_path / "posed.ply").read_bytes().partition(b"end_header")[0]
    read = read_posed_ply(tmp_path / "posed.ply")
    for name in ("means", "scales", "opacities", "colors"):
        assert torch.allclose(getattr(read, name), getattr(cloud, name), atol=1e-5), name
    assert torch.allclose(quat_to_matrix(read.quats), quat_to_matrix(cloud.quats), atol=1e-5)


def test_spz_round_trip_within_its_quantisation(tmp_path: Path) -> None:
    cloud = random_gaussians(HEAD, 200).posed(HEAD, HEAD.neutral())
    write_spz(tmp_path / "posed.spz", cloud)
    read = read_spz(tmp_path / "posed.spz")
    assert torch.allclose(read.means, cloud.means, atol=0.51 / 4096)
    assert torch.allclose(read.scales.log(), cloud.scales.log(), atol=0.51 / 16)
    assert torch.allclose(read.opacities, cloud.opacities, atol=0.51 / 255)
    assert torch.allclose(read.colors, cloud.colors, atol=0.5 / 255 / 0.15 * 0.2821 + 1e-4)
    assert torch.allclose(quat_to_matrix(read.quats), quat_to_matrix(cloud.quats), atol=8e-3)


def test_spz_header_is_version_3(tmp_path: Path) -> None:
    write_spz(tmp_path / "posed.spz", random_gaussians(HEAD, 5).posed(HEAD, HEAD.neutral()))
    data = gzip.decompress((tmp_path / "posed.spz").read_bytes())
    assert data[:4] == b"NGSP"
    assert struct.unpack_from("<IIBBBB", data, 4) == (3, 5, 0, 12, 0, 0)
    assert len(data) == 16 + 5 * (9 + 1 + 3 + 3 + 4)


def test_writers_repeat_their_bytes(tmp_path: Path) -> None:
    rigged, params = random_gaussians(HEAD), moving_params(HEAD, 2)
    cloud = rigged.posed(HEAD, HEAD.neutral())
    for run in ("a", "b"):
        write_rigged_ply(tmp_path / f"{run}.ply", rigged)
        write_flame_params(tmp_path / f"{run}.npz", params, HEAD.n_vertices)
        write_spz(tmp_path / f"{run}.spz", cloud)
    for kind in ("ply", "npz", "spz"):
        assert (tmp_path / f"a.{kind}").read_bytes() == (tmp_path / f"b.{kind}").read_bytes()


def test_other_files_are_refused(tmp_path: Path) -> None:
    bad = tmp_path / "bad"
    bad.write_bytes(b"ply\nformat ascii 1.0\nend_header\n")
    with pytest.raises(DataError):
        read_posed_ply(bad)
    with pytest.raises(DataError):
        read_spz(bad)
    write_posed_ply(bad, random_gaussians(HEAD).posed(HEAD, HEAD.neutral()))
    bad.write_bytes(bad.read_bytes()[:-4])
    with pytest.raises(DataError, match="declares"):
        read_posed_ply(bad)
