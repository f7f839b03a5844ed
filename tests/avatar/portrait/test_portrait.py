"""Portraits: hair from a matte, colours from a photo and its mirror, the whole folder."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from headforge.avatar.config import FitConfig
from headforge.avatar.portrait.colors import PhotoColors, fold_hair, mirrored
from headforge.avatar.portrait.hair import find_hair, half_depth, opened, outline_distance, unproject
from headforge.avatar.portrait.portrait import fit_portrait, read_portrait
from headforge.avatar.render import render_avatar, to_uint8
from headforge.avatar.rig import load_rigged
from headforge.avatar.views import View, make_view
from headforge.errors import DataError
from headforge.geometry.cameras import orbit_camera, project
from headforge.render.mesh import rasterize
from headforge.store.dataset.shards import write_shard
from headforge.store.images import decode_image, encode_png
from headforge.types import Camera, Sample
from tests.avatar.scenes import orbiting_cameras, painted_head, pictures
from tests.heads import tiny_head

HEAD = tiny_head()
SIZE = 96
CAMERA = orbit_camera(0.0, 0.0, distance_m=1.0, focal_px=SIZE / 0.38, width=SIZE, height=SIZE)
CONFIG = FitConfig(portrait_n_skin=2500, portrait_n_hair=7000, portrait_n_iterations=20, portrait_size=SIZE,
                   turntable_size=16)  # fmt: skip


def silhouette() -> torch.Tensor:
    """[S, S] coverage of the bald test head."""
    batch = Camera(CAMERA.K[None], CAMERA.viewmat[None], SIZE, SIZE)
    return rasterize(HEAD.v_template[None], HEAD.faces, batch).mask[0].float()


def wig() -> torch.Tensor:
    """[S, S] coverage of the head with hair two to three centimetres thick above the middle row."""
    grown = torch.nn.functional.max_pool2d(silhouette()[None], 15, 1, 7)[0]
    return torch.where((torch.arange(SIZE) < SIZE // 2)[:, None], grown, silhouette())


def photo_view(mask: torch.Tensor) -> View:
    """A photo whose left half is red and right half is green, on white."""
    image = torch.zeros(SIZE, SIZE, 3)
    image[:, : SIZE // 2, 0] = 1
    image[:, SIZE // 2 :, 1] = 1
    return make_view(HEAD, image * mask[..., None] + 1 - mask[..., None], mask, CAMERA, HEAD.neutral())


def test_bald_head_has_no_hair() -> None:
    hair = find_hair(HEAD, photo_view(silhouette()))
    assert len(hair.front) == len(hair.rest) == 0


def test_hair_lies_inside_the_matte_and_outside_the_head() -> None:
    mask = wig()
    hair = find_hair(HEAD, photo_view(mask))
    assert min(len(hair.front), len(hair.rest)) > 200
    for points in (hair.front, hair.rest):
        pixels = project(CAMERA, points)[0].long()
        assert mask[pixels[:, 1], pixels[:, 0]].mean() > 0.97
        assert ((points / HEAD.v_template.amax(0)).norm(dim=-1) > 0.97).float().mean() > 0.97
    assert hair.rest[:, 2].min() < -0.02
    assert (hair.front[:, 1] < -0.04).float().mean() < 0.05


def test_thinned_hair_covers_as_much() -> None:
    hair = find_hair(HEAD, photo_view(wig()))
    fewer = hair.thinned(300, seed=0)
    assert 297 <= len(fewer.front) + len(fewer.rest) <= 300
    area = len(hair.front) * hair.front_size.mean() ** 2
    assert float(len(fewer.front) * fewer.front_size.mean() ** 2) == pytest.approx(float(area), rel=0.05)
    assert hair.thinned(10**6, seed=0) is hair


def test_balloon_of_a_disc_is_a_ball() -> None:
    y, x = torch.meshgrid(torch.arange(61) - 30.0, torch.arange(61) - 30.0, indexing="ij")
    radius = (x * x + y * y).sqrt()
    depth = half_depth(radius < 25, cell_m=0.002)
    expected = (25**2 - radius**2).clamp_min(0).sqrt() * 0.002
    assert (depth - expected).abs().max() < 0.012
    assert depth[radius >= 25].max() == 0


def test_outline_distance_and_opening() -> None:
    mask = torch.zeros(20, 20, dtype=torch.bool)
    mask[5:15, 5:15] = True
    mask[0:20, 2] = True
    assert outline_distance(mask)[9, 9] == 5
    assert opened(mask)[9, 9] and not opened(mask)[9, 2]


def test_unproject_inverts_project() -> None:
    points = torch.randn(20, 3, generator=torch.Generator().manual_seed(0)) * 0.1
    camera = orbiting_cameras(1, SIZE)[0]
    pixels, depth = project(camera, points)
    assert torch.allclose(unproject(camera, pixels[:, 0], pixels[:, 1], depth), points, atol=1e-5)


def test_hidden_side_takes_the_mirrored_colour() -> None:
    points = torch.tensor([[0.05, 0.0, 0.05], [-0.05, 0.0, 0.05], [-0.05, 0.05, 0.0]])
    found = PhotoColors(torch.tensor([[1.0, 0, 0], [0, 1, 0], [0, 0, 1]]), torch.tensor([1.0, 0, 0]))
    other = mirrored(found, points, torch.ones(3, dtype=torch.bool))
    assert other.colors[1].tolist() == [1, 0, 0] and other.confidence[1] == 1
    assert other.confidence[2] == 0


def test_hair_behind_continues_the_hair_in_front() -> None:
    pixels = torch.tensor([[10.0, 48], [20.0, 48], [10.0, 48]])
    depth = torch.tensor([1.0, 1.0, 1.0 + 10 * 0.38 / SIZE])
    colors = torch.tensor([[1.0, 0, 0], [0, 1, 0], [0, 0, 0]])
    seen = torch.tensor([True, True, False])
    filled = fold_hair(colors, pixels, depth, seen, ~seen, photo_view(wig()))
    assert torch.equal(filled[:2], colors[:2])
    assert filled[2].tolist() == [0, 1, 0]


def write_portrait(folder: Path) -> None:
    """A tracked portrait of the painted test head with a wig, and two views of it."""
    view = photo_view(wig())
    folder.mkdir(parents=True)
    (folder / "photo.png").write_bytes(encode_png(to_uint8(view.image).numpy()))
    (folder / "mask.png").write_bytes(encode_png((view.mask * 255).to(torch.uint8).numpy()))
    params = {name: value.tolist() for name, value in HEAD.neutral().tensors().items()}
    camera = {"K": CAMERA.K.tolist(), "viewmat": CAMERA.viewmat.tolist(), "width": SIZE, "height": SIZE}
    track = {"name": "someone", "model_id": HEAD.model_id, "params": params, "camera": camera}
    (folder / "track.json").write_text(json.dumps(track))
    cameras = orbiting_cameras(2, 32)
    neutral = HEAD.neutral((2,))
    samples = [
        Sample("someone", i, "test", "synthetic", 0, to_uint8(v.image).numpy(), (v.mask * 255).to(torch.uint8).numpy(),
               cameras[i], neutral[i], 0.0, 0.0)
        for i, v in enumerate(pictures(painted_head(HEAD, 500), HEAD, neutral, cameras))
    ]  # fmt: skip
    write_shard(folder / "views.parquet", [samples])


def test_portrait_looks_like_its_photo_and_repeats(tmp_path: Path) -> None:
    write_portrait(tmp_path / "p")
    for name in ("a", "b"):
        fit_portrait(CONFIG, tmp_path / "p", tmp_path / "p" / "views.parquet", HEAD, tmp_path / name)
    for path in sorted((tmp_path / "a").iterdir()):
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes(), path.name
    rigged, params = load_rigged(tmp_path / "a" / "avatar.safetensors")
    image = render_avatar(rigged, HEAD, params, CAMERA)
    assert float(-10 * (image - photo_view(wig()).image).square().mean().log10()) > 18
    assert decode_image((tmp_path / "a" / "frontal.png").read_bytes()).shape == (512, 512, 3)
    assert json.loads((tmp_path / "a" / "avatar.json").read_text())["n_hair"] > 300


def test_fit_is_closer_to_the_photo_than_its_start(tmp_path: Path) -> None:
    write_portrait(tmp_path / "p")
    errors = []
    for n in (0, 20):
        config = dataclasses.replace(CONFIG, portrait_n_iterations=n)
        fit_portrait(config, tmp_path / "p", tmp_path / "p" / "views.parquet", HEAD, tmp_path / str(n))
        rigged, params = load_rigged(tmp_path / str(n) / "avatar.safetensors")
        image = render_avatar(rigged, HEAD, params, CAMERA)
        errors.append(float((image - photo_view(wig()).image).square().mean()))
    assert errors[1] < 0.8 * errors[0]


def test_folder_that_is_no_portrait_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="help:"):
        read_portrait(tmp_path)
    write_portrait(tmp_path / "p")
    (tmp_path / "p" / "mask.png").write_bytes(encode_png(np.zeros((8, 8), np.uint8)))
    with pytest.raises(DataError, match="sizes"):
        read_portrait(tmp_path / "p")
