from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from headforge.errors import InputError, ShapeError
from headforge.geometry.camera_check import (
    CONVENTIONS,
    FINE,
    IBUG_MIRROR,
    check_camera_convention,
    mirrored_landmarks,
    triangulate,
)
from headforge.geometry.cameras import orbit_camera, project
from headforge.types import Camera

SIZE = (320, 240)
GL = torch.diag(torch.tensor([1.0, -1.0, -1.0, 1.0], dtype=torch.float64))


def face() -> Tensor:
    """68 points about a face, symmetric as iBUG's names are, metres."""
    generator = torch.Generator().manual_seed(3)
    points = torch.rand(68, 3, generator=generator, dtype=torch.float64) - 0.5
    mirrored = points[torch.tensor(IBUG_MIRROR)] * torch.tensor([-1.0, 1.0, 1.0], dtype=torch.float64)
    scale = torch.tensor([0.14, 0.16, 0.09], dtype=torch.float64)
    return (points + mirrored) / 2 * scale * 1.4 + torch.tensor([0.0, -0.02, 0.06], dtype=torch.float64)


def cameras(yaw_max_deg: float = 40.0, pitch_deg: float = 12.0, n: int = 9) -> Camera:
    yaw = torch.linspace(-yaw_max_deg, yaw_max_deg, n)
    pitch = torch.linspace(-pitch_deg, pitch_deg, n)[torch.tensor([4, 0, 7, 2, 5, 8, 1, 3, 6])[:n]]
    found = orbit_camera(yaw, pitch, distance_m=1.0, focal_px=520.0, width=SIZE[0], height=SIZE[1])
    return Camera(found.K.double(), found.viewmat.double(), *SIZE)


def seen(camera: Camera, noise_px: float = 1.5, moved_m: float = 0.002) -> Tensor:
    """Landmarks of a face that moves a little, with a detector's noise."""
    generator = torch.Generator().manual_seed(5)
    moved = face() + moved_m * torch.randn(len(camera.K), 68, 3, generator=generator, dtype=torch.float64)
    pixels, _ = project(camera, moved)
    return pixels + noise_px * torch.randn(pixels.shape, generator=generator, dtype=torch.float64)


def with_matrix(change: Callable[[Tensor], Tensor]) -> Callable[[Camera], Camera]:
    return lambda camera: Camera(camera.K, change(camera.viewmat), camera.width, camera.height)


def with_K(change: Callable[[Camera], Tensor]) -> Callable[[Camera], Camera]:
    return lambda camera: Camera(change(camera), camera.viewmat, camera.width, camera.height)


def flip(*signs: float) -> Tensor:
    return torch.diag(torch.tensor([*signs, 1.0], dtype=torch.float64))


def normalized(camera: Camera) -> Tensor:
    return camera.K / camera.K.new_tensor([camera.width, camera.height, 1.0])[:, None]


def halved(camera: Camera) -> Tensor:
    return camera.K * camera.K.new_tensor([0.5, 0.5, 1.0])[:, None]


WRONG = {
    "opengl_axes": with_matrix(lambda m: GL @ m),
    "world_flipped": with_matrix(lambda m: m @ GL),
    "inverted": with_matrix(torch.linalg.inv),
    "inverted_opengl_axes": with_matrix(lambda m: torch.linalg.inv(m) @ GL),
    "inverted_world_flipped": with_matrix(lambda m: GL @ torch.linalg.inv(m)),
    "inverted_world_flipped_opengl_axes": with_matrix(lambda m: GL @ torch.linalg.inv(m) @ GL),
    "mirrored": with_matrix(lambda m: flip(-1, 1, 1) @ m),
    "upside_down": with_matrix(lambda m: flip(1, -1, 1) @ m),
    "z_flipped": with_matrix(lambda m: flip(1, 1, -1) @ m),
    "turned_half": with_matrix(lambda m: flip(-1, -1, 1) @ m),
    "normalized_intrinsics": with_K(normalized),
    "resized_intrinsics": with_K(halved),
    "opengl_axes_normalized_intrinsics": lambda camera: with_K(normalized)(with_matrix(lambda m: GL @ m)(camera)),
}


@pytest.mark.parametrize("way", ["triangulated", "with the mean head", "projected"])
@pytest.mark.parametrize("name", [FINE, *WRONG])
def test_every_wrong_convention_is_named_and_mended(name: str, way: str) -> None:
    right = cameras()
    pixels = seen(right, 0.1, 0.0) if way == "triangulated" else seen(right)
    stated = WRONG[name](right) if name != FINE else right
    known = {"with the mean head": {"mean_head": face()}, "projected": {"points": face()}}.get(way, {})
    check = check_camera_convention(stated, pixels, **known)
    if way == "triangulated" and "world_flipped" in name:  # nothing but the head says how the world lies
        assert check.verdict == (name.replace("world_flipped", "").strip("_").replace("__", "_") or FINE)
        return
    assert check.verdict == name
    assert check.is_fine == (name == FINE)
    mended = CONVENTIONS[check.verdict].apply(stated)
    torch.testing.assert_close(project(mended, face())[0], project(right, face())[0], atol=1e-6, rtol=0)
    assert (name in check.message) == (name != FINE)


def test_mirrored_pictures_are_found_by_what_a_detector_sees_in_them() -> None:
    """On a level rig a mirrored picture is nearly that of a hollow face: the mean head tells them apart."""
    right = cameras(pitch_deg=0.0)
    check = check_camera_convention(right, mirrored_landmarks(seen(right), SIZE[0]), mean_head=face())
    assert check.verdict == "mirrored"
    assert "mirror the pictures" in check.message


def test_a_single_picture_can_be_checked_against_known_points() -> None:
    right = cameras()[4:5]
    check = check_camera_convention(WRONG["opengl_axes"](right), seen(right), points=1.05 * face())
    assert check.verdict == "opengl_axes"


def test_hidden_landmarks_do_not_count() -> None:
    right = cameras()
    pixels, visible = seen(right), torch.ones(9, 68, dtype=torch.bool)
    visible[2:4] = False
    pixels[2] = float("nan")
    pixels[3] = 1e4
    assert check_camera_convention(right, pixels, visible).is_fine


@pytest.mark.parametrize(
    ("world", "scale", "said"),
    [
        ([[1, 0, 0], [0, 0, -1], [0, 1, 0]], 1.0, "the head's up is the world's +z and its front -y"),
        ([[1, 0, 0], [0, 1, 0], [0, 0, 1]], 1000.0, "a metre is 1e+03 units long"),
        ([[1, 0, 0], [0, 1, 0], [0, 0, 1]], 1.0, ""),
    ],
)
def test_the_world_is_compared_with_ours(world: list[list[float]], scale: float, said: str) -> None:
    right = cameras()
    turn = torch.eye(4, dtype=torch.float64)
    turn[:3, :3] = torch.tensor(world, dtype=torch.float64)
    viewmat = right.viewmat @ torch.linalg.inv(turn)
    viewmat[:, :3, 3] *= scale
    check = check_camera_convention(Camera(right.K, viewmat, *SIZE), seen(right), mean_head=face())
    assert check.is_fine and check.world is not None
    assert check.world.warning.startswith(said) and bool(check.world.warning) == bool(said)


def test_nonsense_is_unclear() -> None:
    right = cameras()
    order = torch.tensor([3, 1, 7, 0, 8, 2, 6, 5, 4])
    assert check_camera_convention(right, seen(right)[order]).verdict == "unclear"


def test_too_little_to_tell_is_an_error() -> None:
    right = cameras()
    pixels = seen(right)
    with pytest.raises(InputError, match="1 pictures show"):
        check_camera_convention(right[:1], pixels[:1])
    with pytest.raises(InputError, match="no picture shows"):
        check_camera_convention(right, torch.full_like(pixels, float("nan")), points=face())
    still = Camera(right.K, right.viewmat[:1].expand(9, -1, -1), *SIZE)
    with pytest.raises(InputError, match="the same fixed camera"):
        check_camera_convention(still, pixels)
    near = cameras(yaw_max_deg=0.2, pitch_deg=0.1)
    with pytest.raises(InputError, match="all from one side"):
        check_camera_convention(near, seen(near, noise_px=0.0))
    with pytest.raises(ShapeError):
        check_camera_convention(right, pixels[0])


def test_exact_landmarks_are_triangulated_exactly() -> None:
    right = cameras()
    pixels, _ = project(right, face())
    found = triangulate(right, pixels, torch.ones(9, 68, dtype=torch.bool))
    torch.testing.assert_close(found, face(), atol=1e-7, rtol=0)


def test_mirroring_landmarks_twice_changes_nothing() -> None:
    pixels = seen(cameras())
    torch.testing.assert_close(mirrored_landmarks(mirrored_landmarks(pixels, 320), 320), pixels)
