"""Photos and videos on the command line."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from skimage import data

from flows.project.intake import take_portraits, take_videos
from flows.project.needs import Needs, State
from flows.project.params import change_params, load_settings
from flows.project.project import store_root
from flows.run import driver
from headforge.errors import ConfigError, InputError
from headforge.store.objects.store import Store
from headforge.store.video import write_video
from tasks.inputs.named_inputs import content_of, face_of
from tests.flows.project.test_params import project, refusal

pytest.importorskip("dlib")
__all__ = ["project"]


@pytest.fixture(autouse=True)
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEADFORGE_HOME", str(tmp_path / "home"))


@pytest.fixture
def film(tmp_path: Path) -> Path:
    path = tmp_path / "My Talk.mp4"
    write_video(path, np.zeros((3, 64, 64, 3), np.uint8), 25)
    return path


def test_a_video_goes_into_the_store_and_its_hash_into_the_settings(project: Path, film: Path) -> None:
    taken = take_videos([film])
    assert list(taken) == ["my-talk"]
    assert Store(store_root()).blob(taken["my-talk"]).read_bytes() == film.read_bytes()
    before = (project / "params.yaml").read_text()
    settings, changes = change_params(project, videos=taken)
    assert dict(settings.videos) == taken and [change.key for change in changes] == ["videos"]
    assert load_settings(project).videos == taken
    assert (project / "params.yaml").read_text().startswith(before.rpartition("videos:")[0])
    assert change_params(project, videos=taken)[1] == []


def test_face_numbers_are_kept_beside_the_hash(project: Path, film: Path) -> None:
    taken = take_videos([film], face=1)
    named = taken["my-talk"]
    assert named.endswith("@1") and face_of(named) == 1 and len(content_of(named)) == 64
    assert change_params(project, videos=taken)[0].videos == taken
    assert face_of(content_of(named)) == -1 and face_of("builtin:astronaut") == -1
    needs = Needs()
    needs.add(State({"videos": taken, "portraits": {"me": "a" * 64 + "@2"}}))
    assert needs.blobs == {content_of(named), "a" * 64}


def test_names_and_values_that_are_none_are_refused(project: Path) -> None:
    assert refusal(project, "videos.me=me.mp4").key == "videos.me"
    with pytest.raises(ConfigError) as error:
        change_params(project, videos={"Me": "a" * 64})
    assert "video" in error.value.help or "small letter" in error.value.help
    with pytest.raises(ConfigError):
        change_params(project, videos={"me": "builtin:astronaut"})


def test_what_is_no_video_is_refused_and_nothing_is_stored(tmp_path: Path) -> None:
    path = tmp_path / "x.mp4"
    path.write_text("no video")
    with pytest.raises(InputError):
        take_videos([path])
    assert not list((tmp_path / "home").rglob("blobs/*/*"))


def test_a_face_that_a_photo_does_not_show_is_refused_with_a_list(tmp_path: Path) -> None:
    path = tmp_path / "astronaut.png"
    Image.fromarray(data.astronaut()).save(path)
    with pytest.raises(InputError) as error:
        take_portraits([path], face=5)
    assert "face 5 was asked for" in error.value.message and "0 of" in error.value.message
    assert "from 0 to" in error.value.help
    assert face_of(take_portraits([path], face=0)["astronaut"]) == 0


def test_videos_on_the_command_line_end_up_among_the_videos(
    project: Path, film: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    driver._apply(project, driver.Request(videos=(film,)))
    settings = load_settings(project)
    assert list(settings.videos) == ["my-talk"] and dict(settings.assets) == {}
    assert dict(settings.portraits) == {"astronaut": "builtin:astronaut"}


def test_landmark_files_belong_to_videos(project: Path, film: Path, tmp_path: Path) -> None:
    file = tmp_path / "marks.csv"
    file.write_text("frame,landmark,x,y\n")
    driver._apply(project, driver.Request(videos=(film,), landmarks=(file,)))
    settings = load_settings(project)
    assert list(settings.landmarks) == ["my-talk"]
    assert Store(store_root()).blob(settings.landmarks["my-talk"]).read_text().startswith("frame,")
    driver._apply(project, driver.Request(videos=(film,)))
    assert dict(load_settings(project).landmarks) == {}, "another video has other landmarks"
    with pytest.raises(ConfigError, match="there is no video of that name"):
        change_params(project, landmarks={"other": "a" * 64})
    with pytest.raises(InputError):
        driver._apply(project, driver.Request(videos=(film,), landmarks=(tmp_path / "none.npz",)))
