"""Fitting: better than its start, the same twice, honest about held-out views."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from headforge.avatar.config import FitConfig
from headforge.avatar.fit import fit_subject, fit_views, initial_gaussians, is_heldout
from headforge.avatar.losses import Target, blur, hair_loss, photometric, position_loss, ssim
from headforge.avatar.optimise import view_order
from headforge.avatar.render import to_uint8
from headforge.avatar.rig import load_rigged
from headforge.errors import ConfigError, Rejected
from headforge.flame.files import save_head
from headforge.store.dataset.shards import write_dataset_json, write_shard
from headforge.store.dataset.tables import read_predictions, write_tracks
from headforge.types import Sample, Track
from tests.avatar.scenes import moving_params, orbiting_cameras, painted_head, pictures, psnr_db, random_gaussians
from tests.heads import tiny_head

HEAD = tiny_head()
N_VIEWS, SIZE = 8, 40
SMALL = FitConfig(n_iterations=30, n_skin=500, n_hair=150, image_size=SIZE, turntable_size=16)


def tiny_dataset(folder: Path) -> None:
    """One subject with eight views of the painted head."""
    params, cameras = moving_params(HEAD, N_VIEWS), orbiting_cameras(N_VIEWS, SIZE)
    views = pictures(painted_head(HEAD, 800), HEAD, params, cameras)
    samples = [
        Sample(
            "000000", i, "test", "synthetic", 0, to_uint8(view.image).numpy(),
            (view.mask * 255).round().numpy().astype(np.uint8), cameras[i], params[i], 0.0, 0.0,
            attributes={"hair": "bald"},
        )
        for i, view in enumerate(views)
    ]  # fmt: skip
    (folder / "shards").mkdir(parents=True)
    write_shard(folder / "shards" / "part-00000.parquet", [samples])
    save_head(HEAD, folder / "head_model.safetensors")
    write_dataset_json(folder, generator="test", params={}, licences={"test": "none"})


def test_fit_improves_on_unseen_views() -> None:
    params, cameras = moving_params(HEAD, 12), orbiting_cameras(12, SIZE)
    views = pictures(painted_head(HEAD, 800), HEAD, params, cameras)
    config = dataclasses.replace(SMALL, n_iterations=60)
    start = initial_gaussians(config, HEAD, views[:9], HEAD.neutral(), "a")
    fitted = fit_views(config, HEAD, views[:9], HEAD.neutral(), "a")
    before, after = (psnr_db(r, HEAD, params[9:], views[9:]) for r in (start, fitted))
    assert before > 20
    assert after > before + 3


def test_heldout_views_never_touch_the_fit(tmp_path: Path) -> None:
    tiny_dataset(tmp_path / "data")
    fit_subject(SMALL, tmp_path / "data", None, "000000", tmp_path / "avatar")
    manifest = json.loads((tmp_path / "avatar" / "avatar.json").read_text())
    heldout = [view for view in range(N_VIEWS) if is_heldout(view, SMALL.heldout_every)]
    assert manifest["heldout_views"] == heldout
    assert sorted(manifest["training_views"] + heldout) == list(range(N_VIEWS))
    predictions = read_predictions(tmp_path / "avatar" / "predictions.parquet")
    assert [p.view for p in predictions] == heldout
    assert {p.method for p in predictions} == {"avatar_exact"}
    assert {p.image.shape for p in predictions} == {(SIZE, SIZE, 3)}


def test_two_runs_give_the_same_bytes(tmp_path: Path) -> None:
    tiny_dataset(tmp_path / "data")
    for name in ("a", "b"):
        fit_subject(SMALL, tmp_path / "data", None, "000000", tmp_path / name)
    files = sorted(path.name for path in (tmp_path / "a").iterdir())
    assert files == ["avatar.json", "avatar.safetensors", "flame_param.npz", "frontal.png", "point_cloud.ply",
                     "posed.ply", "posed.spz", "predictions.parquet", "turntable.mp4"]  # fmt: skip
    for name in files:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes(), name
    rigged, params = load_rigged(tmp_path / "a" / "avatar.safetensors")
    assert rigged.model_id == params.model_id == HEAD.model_id


def test_tracked_poses_are_used_and_exact_ones_beside_them(tmp_path: Path) -> None:
    tiny_dataset(tmp_path / "data")
    params, cameras = moving_params(HEAD, N_VIEWS), orbiting_cameras(N_VIEWS, SIZE)
    shifted = dataclasses.replace(cameras, viewmat=cameras.viewmat + 0.02 * torch.eye(4)[:, [3, 0, 1, 2]])
    tracks = [Track("000000", i, "ok" if i != 3 else "rejected", "", shifted[i], params[i], 1.0, 68) for i in range(8)]
    write_tracks(tmp_path / "tracks.parquet", tracks)
    fit_subject(SMALL, tmp_path / "data", tmp_path / "tracks.parquet", "000000", tmp_path / "avatar")
    manifest = json.loads((tmp_path / "avatar" / "avatar.json").read_text())
    assert 3 not in manifest["training_views"] + manifest["heldout_views"]
    by_method = {p.method: p.image for p in read_predictions(tmp_path / "avatar" / "predictions.parquet")}
    assert set(by_method) == {"avatar_tracked", "avatar_exact"}
    assert not np.array_equal(by_method["avatar_tracked"], by_method["avatar_exact"])


def test_subject_without_tracked_views_is_rejected(tmp_path: Path) -> None:
    tiny_dataset(tmp_path / "data")
    write_tracks(tmp_path / "tracks.parquet", [])
    with pytest.raises(Rejected, match="0 training views"):
        fit_subject(SMALL, tmp_path / "data", tmp_path / "tracks.parquet", "000000", tmp_path / "avatar")
    assert not (tmp_path / "avatar").exists()


@pytest.mark.parametrize("every", [2, 4, 5])
def test_one_view_of_each_block_is_held_out_at_changing_places(every: int) -> None:
    blocks = [[view for view in range(b * every, (b + 1) * every) if is_heldout(view, every)] for b in range(every)]
    assert all(len(block) == 1 for block in blocks)
    assert len({block[0] % every for block in blocks}) == every


def test_held_out_views_are_these() -> None:
    assert [view for view in range(16) if is_heldout(view, 4)] == [1, 6, 11, 12]


def test_every_view_is_drawn_once_a_round() -> None:
    order = view_order(5, 12, seed=0)
    assert sorted(order[:5]) == sorted(order[5:10]) == [0, 1, 2, 3, 4]
    assert not np.array_equal(order[:5], order[5:10])


def test_ssim_is_one_for_equal_pictures_and_agrees_with_its_definition() -> None:
    g = torch.Generator().manual_seed(0)
    a, b = torch.rand(20, 24, 3, generator=g), torch.rand(20, 24, 3, generator=g)
    assert float(ssim(a, Target.of(a))) == pytest.approx(1, abs=1e-5)
    assert float(ssim(a, Target.of(b))) == pytest.approx(float(_ssim_by_convolution(a, b)), abs=1e-5)


def _ssim_by_convolution(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    x = torch.exp(-((torch.arange(11) - 5.0) ** 2) / 4.5)
    kernel = (x[:, None] * x / x.sum() ** 2)[None, None]
    a, b = (v.permute(2, 0, 1)[:, None] for v in (a, b))
    ma, mb, aa, bb, ab = (torch.nn.functional.conv2d(v, kernel, padding=5) for v in (a, b, a * a, b * b, a * b))
    top = (2 * ma * mb + 1e-4) * (2 * (ab - ma * mb) + 9e-4)
    return (top / ((ma**2 + mb**2 + 1e-4) * (aa - ma**2 + bb - mb**2 + 9e-4))).mean()


def test_blur_has_the_right_gradient() -> None:
    x = torch.rand(2, 13, 14, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(blur, x)


def test_photometric_loss_is_zero_for_the_target() -> None:
    image = torch.rand(16, 16, 3)
    assert float(photometric(image, Target.of(image), 0.2)) == pytest.approx(0, abs=1e-5)


def test_only_bound_gaussians_are_held_near_their_triangle() -> None:
    rigged = random_gaussians(HEAD).replace(means=torch.full((40, 3), 2.0))
    hair = rigged.replace(is_free=torch.ones(40, dtype=torch.bool))
    skin = rigged.replace(is_free=torch.zeros(40, dtype=torch.bool))
    assert float(position_loss(hair)) == 0 < float(position_loss(skin))
    assert float(hair_loss(skin)) == 0 < float(hair_loss(hair))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("n_iterations", -1),
        ("image_size", 0),
        ("heldout_every", 1),
        ("sh_degree", 4),
        ("lr_means", float("nan")),
        ("weight_ssim", 1.5),
    ],
)
def test_bad_settings_are_refused(name: str, value: float) -> None:
    with pytest.raises(ConfigError, match=f"fit.{name}") as error:
        dataclasses.replace(FitConfig(), **{name: value})
    assert error.value.key == f"fit.{name}"
