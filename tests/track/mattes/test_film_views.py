from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from flows.commands.exchange.heads import head_facts, landmark_finder
from headforge.errors import InputError
from headforge.flame.model import HeadModel, pose_head
from headforge.geometry.cameras import orbit_camera
from headforge.render.mesh import rasterize
from headforge.store.exchange.export import FORMATS, export_views
from headforge.store.images import decode_image
from headforge.store.video import open_video, write_frames
from headforge.track.mattes.film_views import FilmSource, spool_film
from headforge.types import Camera, HeadParams, Track
from tests.heads import tiny_head

pytest.importorskip("imageio_ffmpeg")

SIZE, N_FRAMES = 96, 4
ABOUT = {"licences": {"anna": "CC0"}, "synthetic_media": False}


def tracks(head: HeadModel) -> list[Track]:
    """A head that turns and moves before a camera that stands still; the third frame was rejected."""
    camera = orbit_camera(0.0, 0.0, distance_m=0.0001, focal_px=300.0, width=SIZE, height=SIZE)
    still = Camera(camera.K, torch.diag(torch.tensor([1.0, -1.0, -1.0, 1.0])), SIZE, SIZE)
    found = []
    for frame in range(N_FRAMES):
        params = head.neutral().replace(
            rotation=torch.tensor([0.05, 0.1 * frame, 0.0]), translation=torch.tensor([0.01 * frame, 0.0, -1.0])
        )
        status = "rejected" if frame == 2 else "ok"
        found.append(Track("anna", frame, status, "", still, params, 0.5, 68))
    return found


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> tuple[HeadModel, FilmSource]:
    """A film of a brown head before blue."""
    head = tiny_head()
    path = tmp_path_factory.mktemp("film") / "anna.mp4"
    found = tracks(head)
    frames = []
    for track in found:
        inside = covered(head, track)
        frames.append(np.where(inside[..., None], [150, 100, 60], [40, 60, 200]).astype(np.uint8))
    write_frames(path, iter(frames), 25.0)
    return head, FilmSource(open_video(path, SIZE), found)


def covered(head: HeadModel, track: Track) -> np.ndarray:
    vertices = pose_head(head, HeadParams.stack([track.params]))
    return rasterize(vertices, head.faces, Camera.stack([track.camera])).mask[0].numpy()


def test_frames_come_with_mattes_and_tracks(source: tuple[HeadModel, FilmSource], tmp_path: Path) -> None:
    head, film = source
    rows = spool_film(film, head, tmp_path)
    assert [(row["view"], row["timestep"]) for row in rows] == [(0, 0), (1, 1), (3, 3)]
    for row in rows:
        inside = covered(head, film.tracks[row["view"]])
        mask = decode_image(row["mask"]) > 127
        assert (mask & inside).sum() > 0.85 * inside.sum()
        assert (mask & ~inside).sum() < 0.15 * inside.sum()
        image = decode_image(row["image"])
        assert np.abs(image[inside].mean(0) - [150, 100, 60]).max() < 12


def test_a_film_becomes_a_folder_of_gaussianavatars(source: tuple[HeadModel, FilmSource], tmp_path: Path) -> None:
    head, film = source
    (tmp_path / "spool").mkdir()
    rows = spool_film(film, head, tmp_path / "spool")
    export_views(rows, ABOUT, "gaussianavatars", tmp_path / "out", head=head_facts(head))
    content = json.loads((tmp_path / "out" / "anna" / "transforms_train.json").read_text())
    assert [frame["timestep_index_original"] for frame in content["frames"]] == [0, 1, 3]
    assert content["camera_indices"] == [0]
    params = np.load(tmp_path / "out" / "anna" / content["frames"][2]["flame_param_path"])
    np.testing.assert_allclose(params["translation"], [[0.03, 0.0, -1.0]], atol=1e-6)
    assert json.loads((tmp_path / "out" / "provenance.json").read_text())["licences"] == {"anna": "CC0"}


@pytest.mark.parametrize("to", [name for name in FORMATS if name != "gaussianavatars"])
def test_other_formats_take_films_too(source: tuple[HeadModel, FilmSource], tmp_path: Path, to: str) -> None:
    head, film = source
    (tmp_path / "spool").mkdir()
    rows = spool_film(film, head, tmp_path / "spool")
    about = {"head_models": [head.model_id], "headforge_version": "0", "params": {}, "generator": "video", **ABOUT}
    made = export_views(rows, about, to, tmp_path / "out", landmarks=landmark_finder(head))
    assert made.n_views == 3


def test_another_film_is_refused(source: tuple[HeadModel, FilmSource], tmp_path: Path) -> None:
    head, film = source
    longer = dataclasses.replace(film, tracks=[*film.tracks, dataclasses.replace(film.tracks[0], view=4)])
    with pytest.raises(InputError, match="has 4 frames, and 5 were tracked"):
        spool_film(longer, head, tmp_path)
    other = Camera(film.tracks[0].camera.K, film.tracks[0].camera.viewmat, 64, 64)
    wrong = dataclasses.replace(film, tracks=[dataclasses.replace(film.tracks[0], camera=other)])
    with pytest.raises(InputError, match="64 x 64 px were tracked"):
        spool_film(wrong, head, tmp_path)
