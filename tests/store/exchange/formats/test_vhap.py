from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from headforge.errors import InputError
from headforge.geometry.cameras import project
from headforge.store.dataset.tables import read_tracks
from headforge.store.exchange.formats.vhap import import_vhap_tracks
from headforge.store.exchange.heads import read_static_offsets
from tests.store.exchange.posed import FACTS, HEAD, random_params


def tracked(path: Path, **changes: Any) -> Path:
    """A result of VHAP's tracker for three frames of 48 x 32 px."""
    moments = [random_params(0, moment) for moment in range(3)]
    arrays: dict[str, Any] = {
        "shape": moments[0].shape.numpy(),
        **{key: np.stack([getattr(p, name).numpy() for p in moments])
           for name, key in {"expr": "expr", "rotation": "rotation", "neck": "neck_pose", "jaw": "jaw_pose",
                             "eyes": "eyes_pose", "translation": "translation"}.items()},
        "static_offset": np.full((1, HEAD.n_vertices, 3), 1e-3, np.float32),
        "timestep_id": np.array(["00000", "00001", "00002"]),
        "n_processed_frames": np.array(2),
        "tex_extra": np.zeros((3, 4, 4), np.float32),
        "lights": np.zeros((9, 3), np.float32),
        "image_size": np.array([32, 48]),
        "focal_length": np.array([1.5], np.float32),
        **changes,
    }  # fmt: skip
    np.savez(path, **{name: value for name, value in arrays.items() if value is not None})
    return path


def test_a_row_per_frame_with_its_fixed_camera(tmp_path: Path) -> None:
    made = import_vhap_tracks(tracked(tmp_path / "t.npz"), tmp_path / "tracks", FACTS, "anna")
    found = read_tracks(tmp_path / "tracks")
    assert made.n_views == 3 and list(found) == [("anna", 0), ("anna", 1), ("anna", 2)]
    track = found["anna", 2]
    assert (track.status, track.camera.width, track.camera.height) == ("ok", 48, 32)
    for name, value in random_params(0, 2).tensors().items():
        torch.testing.assert_close(getattr(track.params, name), value)
    # The camera is 1 m in front of the origin; 0.1 m to the left and 0.2 m up are right and up in the picture.
    pixels, depth = project(track.camera, torch.tensor([[0.1, 0.2, 0.0]]))
    torch.testing.assert_close(pixels, torch.tensor([[24 + 0.1 * 72, 16 - 0.2 * 72]]))
    assert float(depth) == pytest.approx(1.0)
    assert read_static_offsets(tmp_path / "tracks")["anna"].shape == (HEAD.n_vertices, 3)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"focal_length": None}, "its cameras were calibrated"),
        ({"image_size": None}, "no image_size"),
        ({"focal_length": np.array([-1.0])}, "no focal_length above 0"),
        ({"jaw_pose": None}, "has no jaw_pose"),
        ({"expr": np.ones((3, 77), np.float32)}, "has 77 numbers in expr, and the head model takes 6"),
        ({"neck_pose": np.zeros((2, 3))}, "neck_pose of the shape"),
    ],
)
def test_bad_files_are_refused(tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        import_vhap_tracks(tracked(tmp_path / "t.npz", **changes), tmp_path / "tracks", FACTS, "anna")
    assert not (tmp_path / "tracks").exists()


def test_nothing_is_unpickled(tmp_path: Path) -> None:
    (tmp_path / "t.npz").write_bytes(b"\x80\x04\x95\x00")
    with pytest.raises(InputError, match="not a readable npz"):
        import_vhap_tracks(tmp_path / "t.npz", tmp_path / "tracks", FACTS, "anna")
    with pytest.raises(InputError, match="not a readable npz"):
        import_vhap_tracks(tmp_path / "none.npz", tmp_path / "tracks", FACTS, "anna")
