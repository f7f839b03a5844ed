"""Renderers make their tensors where their inputs are, and those that work on the CPU only say so."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from headforge.errors import ConfigError, DeviceError
from headforge.geometry.cameras import orbit_camera
from headforge.render import mesh, near_clip, pixels, projection, shaded, shading, spherical_harmonics, visibility
from headforge.render.splatting import cpu, gsplat_backend, scene, splat, torch_twin
from headforge.render.splatting.scene import SplatScene
from headforge.types import Camera
from tests.devices import Call, check_complete, check_on_cpu, check_on_meta, moved, parametrized
from tests.heads import tiny_head
from tests.render.scenes import Inputs, random_inputs

SIZE = 16
PAIRS = "the number of (triangle, pixel) pairs depends on the values"
FILLED = "which pixels see something depends on the values"


def camera() -> Camera:
    return orbit_camera(torch.tensor([0.0, 30.0]), 0.0, distance_m=0.6, focal_px=30.0, width=SIZE, height=SIZE)


def vertices() -> Tensor:
    return tiny_head().v_template[None].repeat(2, 1, 1)


def triangles() -> tuple[Tensor, Tensor, Camera]:
    return vertices(), tiny_head().faces, camera()


def exact_triangles() -> tuple[Tensor, Tensor, Camera]:
    """In float64, which takes the z-buffer made of torch operations."""
    seen = camera()
    return vertices().double(), tiny_head().faces, Camera(seen.K.double(), seen.viewmat.double(), SIZE, SIZE)


def fragments() -> mesh.MeshFragments:
    return mesh.rasterize(*triangles())


def corners() -> tuple[Tensor, Tensor, Tensor]:
    """Pixels, nearness and triangles of one image."""
    _, _, xy, inverse_depth = mesh._screen_corners(vertices(), camera())
    return xy, inverse_depth, tiny_head().faces


def crossing() -> tuple[Tensor, Tensor, Tensor, float]:
    """Three triangles, of which two are cut at z = 0.1."""
    local = torch.tensor([[0.0, 0, 1], [1, 0, 1], [0, 1, 0], [1, 1, 0], [2, 1, 1]])
    faces = torch.tensor([[0, 1, 4], [0, 1, 2], [1, 2, 3]])
    return local, faces, torch.tensor([False, True, True]), 0.1


def gaussians(n_cameras: int = 1) -> tuple[object, ...]:
    i: Inputs = random_inputs(3, n=20, n_cameras=n_cameras, size=SIZE)
    return i.means, i.quats, i.scales, i.opacities, i.colors, i.viewmats, i.Ks, SIZE, SIZE


def harmonic_gaussians() -> tuple[object, ...]:
    i = random_inputs(3, n=20, n_cameras=2, size=SIZE)
    return i.means, None, i.scales[:, 0], i.opacities, torch.rand(20, 9, 3), i.viewmats, i.Ks, SIZE, SIZE


def one_gaussian_set() -> tuple[object, ...]:
    means, quats, scales, opacities, _, viewmats, Ks, *size = gaussians()
    assert isinstance(viewmats, Tensor) and isinstance(Ks, Tensor)
    return means, quats, scales, opacities, viewmats[0], Ks[0], *size


SCENE = {"eps2d": 0.3, "near_plane": 0.01, "antialiased": True, "with_depth": True}


def splat_scene() -> SplatScene:
    return scene.make_scene(*gaussians(2), backgrounds=torch.rand(2, 3), **SCENE)  # type: ignore[arg-type]


DEPTH = {"render_mode": "RGB+ED", "rasterize_mode": "antialiased", "backgrounds": torch.rand(2, 3)}
CALLS = [
    Call(mesh.rasterize, triangles, reason=PAIRS),
    Call(mesh.rasterize, lambda: (vertices().requires_grad_(), *triangles()[1:]), reason=PAIRS),
    Call(mesh.rasterize, exact_triangles, reason=PAIRS),
    Call(mesh.interpolate, lambda: (fragments(), torch.rand(len(tiny_head().faces), 3, 2)), reason=FILLED),
    Call(mesh.nearest_face_ids, lambda: (*corners(), SIZE, SIZE), reason=PAIRS),
    Call(mesh.scatter_face_ids, lambda: (corners()[0][0], corners()[1][0], corners()[2], SIZE, SIZE), reason=PAIRS),
    Call(mesh.screen_points, lambda: (vertices()[0], camera()[0]), reason="makes arrays for numba"),
    Call(
        near_clip.crossing_faces,
        lambda: (torch.rand(2, 430) > 0.1, tiny_head().faces),
        reason="saves work if all are in front",
    ),
    Call(near_clip.cut_faces, crossing, reason="the number of cut triangles depends on the values"),
    Call(near_clip.cut_fragments, lambda: (torch.rand(5, 2), torch.rand(5, 3, 3))),
    Call(
        pixels.pixels_in_boxes,
        lambda: (4 * torch.rand(5, 2), 4 + 4 * torch.rand(5, 2), torch.ones(5, dtype=torch.bool), SIZE, SIZE),
        reason=PAIRS,
    ),
    Call(projection.project_gaussians, one_gaussian_set, {"antialiased": True}),
    Call(spherical_harmonics.sh_basis, lambda: (4, torch.rand(2, 5, 3))),
    Call(spherical_harmonics.eval_sh, lambda: (3, torch.rand(2, 5, 3), torch.rand(2, 5, 16, 3))),
    Call(spherical_harmonics.splat_colors, lambda: (1, torch.rand(5, 3), camera().viewmat, torch.rand(5, 4, 3))),
    Call(shading.sh_irradiance, lambda: (torch.rand(5, 3), torch.rand(9, 3))),
    Call(shading.pixel_normals, lambda: (fragments(), *triangles()[:2]), reason=FILLED),
    Call(shading.pixel_normals, lambda: (fragments(), *triangles()[:2]), {"smooth": False}, reason=FILLED),
    Call(shading.downsample_2x2, lambda: (torch.rand(2, 8, 8, 3),)),
    Call(shading.sample_texture, lambda: (torch.rand(8, 8, 3), torch.rand(2, 5, 2))),
    Call(visibility.visible_points, lambda: (*triangles()[:2], vertices(), vertices(), camera()), reason=PAIRS),
    Call(splat.splat, gaussians),
    Call(splat.splat, lambda: gaussians(2), DEPTH),
    Call(splat.splat, lambda: gaussians(2), {**DEPTH, "backend": "torch"}),
    Call(splat.splat, lambda: gaussians(2), {"render_mode": "ED"}),
    Call(splat.splat, harmonic_gaussians, {"sh_degree": 2}),
    Call(scene.make_scene, lambda: gaussians(2), {**SCENE, "backgrounds": torch.rand(2, 3)}),
    Call(scene.check_finite, lambda: (splat_scene(),), reason="looks at the values; without any it does nothing"),
    Call(torch_twin.render, lambda: (splat_scene(),)),
    Call(cpu.render, lambda: (splat_scene(),), reason="kernels for the processor"),
    Call(
        shaded.shaded_mesh,
        lambda: (vertices()[0], tiny_head().faces, vertices()[0] * 0 + 0.5, camera()[0], torch.rand(9, 3)),
        reason=FILLED,
    ),
]
OTHERS = {
    "render.shaded.studio_light": "a constant, made on the CPU and moved by who uses it",
    "render.mesh.nearest_faces": "takes arrays",
    "render.splatting.cpu.instruction_set": "no tensors",
    "render.splatting.cpu.description": "no tensors",
    "render.splatting.gsplat_backend.render": "CUDA tensors only, refused by `splat` before it",
}  # fmt: skip
MODULES = (
    mesh, near_clip, pixels, projection, shaded, shading, spherical_harmonics, visibility, splat, scene, torch_twin,
    cpu, gsplat_backend,
)  # fmt: skip
runs_on_meta, all_calls = parametrized(CALLS)


@runs_on_meta
def test_on_meta(call: Call) -> None:
    check_on_meta(call)


@all_calls
def test_on_the_cpu_whatever_the_default_device_is(call: Call) -> None:
    check_on_cpu(call)


def test_no_entry_point_is_left_out() -> None:
    check_complete(CALLS, OTHERS, MODULES)


@pytest.mark.parametrize("backend", ["cpu", "torch"])
def test_the_way_back_makes_its_tensors_there_too(backend: splat.Backend) -> None:
    inputs = gaussians(2)
    leaves = [x.requires_grad_() for x in inputs[:5] if isinstance(x, Tensor)]
    with torch.device("meta"):
        drawn = splat.splat(*leaves, *inputs[5:], backend=backend)  # type: ignore[arg-type]
        found = torch.autograd.grad(drawn.image.sum() + drawn.alpha.sum(), leaves)
    assert all(gradient.is_cpu and gradient.abs().sum() > 0 for gradient in found)


def test_gradients_on_meta() -> None:
    leaves = [moved(x, torch.device("meta")).requires_grad_() for x in gaussians(2)[:5] if isinstance(x, Tensor)]
    drawn = splat.splat(*leaves, *moved(gaussians(2), torch.device("meta"))[5:])
    assert all(gradient.is_meta for gradient in torch.autograd.grad(drawn.image.sum(), leaves))


@pytest.mark.parametrize("place", ["means", "opacities", "viewmats"])
def test_a_tensor_left_on_the_cpu_is_noticed(place: str) -> None:
    names = ("means", "quats", "scales", "opacities", "colors", "viewmats", "Ks", "width", "height")
    inputs = dict(zip(names, gaussians(), strict=True))
    mixed = {name: value if name == place else moved(value, torch.device("meta")) for name, value in inputs.items()}
    with pytest.raises((RuntimeError, ConfigError, NotImplementedError)):
        splat.splat(**mixed)


def test_meshes_without_values_are_refused_by_name() -> None:
    on_meta = moved(triangles(), torch.device("meta"))
    with pytest.raises(
        DeviceError, match="vertices is on the device meta; rasterizing, which looks at the values, needs"
    ):
        mesh.rasterize(*on_meta)
    with pytest.raises(DeviceError, match="drawing meshes with numba needs it on cpu") as error:
        mesh.screen_points(on_meta[0][0], on_meta[2][0])
    assert error.value.found == "meta"


def test_a_mesh_and_a_camera_in_two_places_are_refused_by_name() -> None:
    on_cpu, on_meta = triangles(), moved(triangles(), torch.device("meta"))
    with pytest.raises(DeviceError, match=r"camera\.viewmat is on the device meta; .* needs it on cpu"):
        mesh.rasterize(on_cpu[0], on_cpu[1], on_meta[2])
    with pytest.raises(DeviceError, match="faces is on the device meta"):
        mesh.rasterize(on_cpu[0], on_meta[1], on_cpu[2])


def test_a_backend_of_another_device_is_refused_by_name() -> None:
    on_meta = moved(gaussians(), torch.device("meta"))
    with pytest.raises(ConfigError, match="the backend 'cpu' needs cpu tensors, got meta"):
        splat.splat(*on_meta, backend="cpu")
    assert np.isfinite(splat.splat(*gaussians(), backend="cpu").image.numpy()).all()  # type: ignore[arg-type]
