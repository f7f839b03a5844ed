"""A batch of photos and videos of every bad kind: each is recorded with its reason, and the good one is tracked."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from skimage import data

from headforge.errors import ConfigError, InputError
from headforge.flame.builtin.head import builtin_head
from headforge.flame.files import save_head
from headforge.progress import SILENT
from headforge.store.objects.store import Store
from headforge.store.video import write_video
from headforge.track.config import TrackConfig
from headforge.track.video.config import VideoConfig
from tasks.inputs.named_inputs import name_face
from tasks.track import make_portrait, make_video, video_items

pytest.importorskip("dlib")
ASTRONAUT = data.astronaut()[:256, 96:352]


def encoded(image: np.ndarray, kind: str = "PNG", mode: str = "RGB") -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(image).convert(mode).save(buffer, kind)
    return buffer.getvalue()


BAD_PHOTOS = {
    "cat": (encoded(data.cat()), "no_face"),
    "coffee": (encoded(data.coffee()), "no_face"),
    "tiny": (encoded(ASTRONAUT[:16, :16]), "file"),
    "truncated": (encoded(ASTRONAUT, "JPEG")[:3000], "file"),
    "text": (b"this is no picture", "file"),
    "distant": (encoded(np.pad(ASTRONAUT[::4, ::4], ((20, 20), (20, 20), (0, 0)))), "face_size"),
}


@pytest.fixture
def head(tmp_path: Path) -> Path:
    save_head(builtin_head(), tmp_path / "head.safetensors")
    return tmp_path / "head.safetensors"


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


def track(store: Store, head: Path, name: str, picture: str, folder: Path) -> dict[str, str] | None:
    folder.mkdir()
    make_portrait(TrackConfig(photo_size=128), name, picture, store.root, head, folder, SILENT)
    rejected = folder / "rejected.json"
    return json.loads(rejected.read_text()) if rejected.is_file() else None


@pytest.mark.parametrize("name", BAD_PHOTOS)
def test_a_bad_photo_is_recorded_with_its_reason(store: Store, head: Path, tmp_path: Path, name: str) -> None:
    content, gate = BAD_PHOTOS[name]
    found = track(store, head, name, store.put_blob(content), tmp_path / "out")
    assert found is not None
    assert (found["item"], found["gate"]) == (name, gate) or (name, found["gate"]) == ("distant", "no_face")
    assert found["reason"] and found["help"] and str(tmp_path) not in found["reason"]
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["rejected.json"]


@pytest.mark.parametrize("mode", ["CMYK", "L"])
def test_cmyk_and_gray_photos_are_tracked(store: Store, head: Path, tmp_path: Path, mode: str) -> None:
    picture = store.put_blob(encoded(ASTRONAUT, "JPEG", mode))
    assert track(store, head, "someone", picture, tmp_path / "out") is None
    assert json.loads((tmp_path / "out" / "track.json").read_text())["residual_eye_distance"] < 0.08


def test_of_two_faces_the_named_one_is_tracked_and_a_third_is_refused(store: Store, head: Path, tmp_path: Path) -> None:
    small = np.asarray(Image.fromarray(ASTRONAUT).resize((200, 200)))
    both = np.full((256, 470, 3), 255, np.uint8)
    both[:, :256], both[20:220, 262:462] = ASTRONAUT, small
    sha256 = store.put_blob(encoded(both))
    middles = []
    for face in (0, 1):
        assert track(store, head, "two", name_face(sha256, face), tmp_path / f"out{face}") is None
        left, _, right, _ = json.loads((tmp_path / f"out{face}" / "track.json").read_text())["face_box"]
        middles.append((left + right) / 2)
    assert middles[0] < 256 < middles[1]
    found = track(store, head, "two", name_face(sha256, 2), tmp_path / "out2")
    assert found is not None and found["gate"] == "face_index"
    assert "2 were found: 0 of" in found["reason"] and "; 1 of" in found["reason"]


def test_videos_without_a_face_or_without_frames_are_recorded(store: Store, head: Path, tmp_path: Path) -> None:
    pytest.importorskip("imageio_ffmpeg")
    write_video(tmp_path / "cup.mp4", np.repeat(data.coffee()[None, ::2, ::2], 3, axis=0), 25)
    for name, content, gate in (
        ("cup", (tmp_path / "cup.mp4").read_bytes(), "video_frames"),
        ("empty", b"\x00\x00\x00\x18ftypmp42" + bytes(64), "file"),
    ):
        folder = tmp_path / name
        folder.mkdir()
        make_video(VideoConfig(), name, store.put_blob(content), None, None, store.root, head, folder, SILENT)
        found = json.loads((folder / "rejected.json").read_text())
        assert (found["item"], found["gate"]) == (name, gate)
        assert found["help"] and str(store.root) not in found["reason"]


def test_intake_takes_what_is_bad_beside_what_is_good(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from flows.project.intake import take_portraits

    monkeypatch.setenv("HEADFORGE_HOME", str(tmp_path / "home"))
    paths = []
    for name, content in (("good.png", encoded(ASTRONAUT)), ("bad.jpg", BAD_PHOTOS["truncated"][0])):
        paths.append(tmp_path / name)
        paths[-1].write_bytes(content)
    assert set(take_portraits(paths)) == {"good", "bad"}
    with pytest.raises(InputError, match="truncated"):
        take_portraits(paths[1:])
    with pytest.raises(InputError, match="does not exist"):
        take_portraits([paths[0], tmp_path / "none.jpg"])


def test_a_detector_whose_asset_is_not_named_is_a_wrong_setting(store: Store, head: Path, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "head_model.safetensors").write_bytes(head.read_bytes())
    (tmp_path / "data" / "dataset.json").write_text("{}")
    arguments = (tmp_path / "data", {"talk": "a" * 64}, {}, {}, store.root)
    with pytest.raises(ConfigError, match="mediapipe"):
        video_items(VideoConfig(detector="mediapipe"), *arguments)
    assert video_items(VideoConfig(detector="mediapipe"), tmp_path, {}, {}, {}, store.root) == []
    with pytest.raises(ConfigError, match=r"video\.detector"):
        VideoConfig(detector="eyes")
