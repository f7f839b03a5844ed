"""The kernels against their readable twins, and the geometry they make."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import numpy as np
import pytest
import torch

from headforge.flame.builtin.head import builtin_head
from headforge.flame.builtin.surface import skin_grid
from headforge.geometry.meshes import similarity_alignment, vertex_normals
from headforge.render.mesh import nearest_face_ids, nearest_faces
from headforge.render.shading import sh_irradiance
from headforge.synth.config import SynthesizeConfig
from headforge.synth.people.lighting import sample_light, sphere_directions
from headforge.synth.rich import draw, occlusion, view
from headforge.synth.rich.backgrounds import draw_background, make_panorama
from headforge.synth.rich.glasses import build_glasses
from headforge.synth.rich.hair.field import LOW_MM, SPACING_MM, head_grid
from headforge.synth.rich.hair.strands import Growth, Strands, Texture, grow_guides, grow_hairs, sample_grid
from headforge.synth.rich.reflect import irradiance_polynomial
from headforge.synth.rich.subject import prepare_rich, vertex_normals_into
from headforge.synth.rich.surface import COVERED
from headforge.synth.shots.samplers import view_camera
from tests.synth.rich import twins
from tests.synth.rich.test_rich import at_rest, traits

SIZE = 64


@functools.cache
def recorded_calls() -> dict[str, dict[str, Any]]:
    """What the drawing kernels were called with for one picture, with the arrays as they were before the call."""
    calls: dict[str, dict[str, Any]] = {}

    def recorder(name: str, kernel: Any) -> Any:
        names = kernel.py_func.__code__.co_varnames

        def record(*values: Any) -> None:
            before = [v.copy() if isinstance(v, np.ndarray) else v for v in values]
            kernel(*values)
            after = [v.copy() if isinstance(v, np.ndarray) else v for v in values]
            call = {"before": dict(zip(names, before, strict=False)), "after": dict(zip(names, after, strict=False))}
            calls.setdefault(name, call)

        return record

    patch = pytest.MonkeyPatch()
    for name in ("shade_surfaces", "draw_hairs"):
        patch.setattr(view, name, recorder(name, getattr(view, name)))
    subject = prepare_rich(traits(0, glasses=1.0, haircut="crop", beard="stubble"), 0, "white")
    camera = view_camera(SynthesizeConfig(), 25.0, 5.0, SIZE)
    pose = at_rest(subject).replace(jaw=torch.tensor([0.25, 0.0, 0.0]), neck=torch.tensor([0.1, 0.2, 0.0]))
    view.render_rich(subject, pose, camera)
    patch.undo()
    return calls


def test_surfaces_against_the_twin() -> None:
    call = recorded_calls()["shade_surfaces"]
    expected = twins.shade_surfaces(call["before"])
    found = call["after"]["rgb"]
    assert set(call["before"]["kinds"][call["before"]["ids"][call["before"]["ids"] >= 0]]) >= {0, 1, 2, 4, 6, 7}
    difference = np.abs(found - expected)
    covered = call["before"]["alpha"] >= COVERED
    assert difference[~covered].max() < 1e-5 and difference[covered].max() <= 1 - COVERED
    assert (call["after"]["alpha"][call["before"]["ids"] >= 0] == 1).all()
    assert expected[call["before"]["ids"] >= 0].std() > 0.1


def test_hairs_against_the_twin() -> None:
    call = recorded_calls()["draw_hairs"]
    before = dict(call["before"])
    for name in ("points", "diffuse", "key_share", "tone", "width_m"):
        before[name] = before[name][:250]
    arguments = {k: v.copy() if isinstance(v, np.ndarray) else v for k, v in before.items()}
    names = draw.draw_hairs.py_func.__code__.co_varnames[: draw.draw_hairs.py_func.__code__.co_argcount]
    arguments["n_drawn"] = 250
    draw.draw_hairs(*(arguments[name] for name in names))
    near, rgb, alpha = twins.draw_hairs(before, draw.NEAR_SLACK, draw.HIDDEN)
    changed = np.abs(before["rgb"] - rgb).max(-1) > 1e-3
    assert changed.sum() > 60
    wrong = (np.abs(arguments["rgb"] - rgb).max(-1) > 3e-3) | (np.abs(arguments["alpha"] - alpha) > 1e-4)
    wrong |= np.abs(arguments["near"] - near) > 1e-4
    assert wrong.sum() <= 0.02 * changed.sum(), "a step may fall on the other side of a sample's border"


def test_averaging_against_the_twin() -> None:
    rng = np.random.default_rng(0)
    rgb, alpha = rng.random((8, 12, 3), np.float32), rng.random((8, 12), np.float32)
    behind = rng.random((4, 6, 3), np.float32)
    image, mask = np.empty((4, 6, 3), np.uint8), np.empty((4, 6), np.uint8)
    draw.average_down(rgb, alpha, behind, image, mask)
    wanted_image, wanted_mask = twins.average_down(rgb, alpha, behind)
    assert np.abs(image - wanted_image).max() <= 1 and np.abs(mask - wanted_mask).max() <= 1


def test_normals_and_nearest_triangles_against_the_library() -> None:
    head = builtin_head()
    vertices, faces = head.v_template, head.faces
    found = np.empty_like(vertices.numpy())
    vertex_normals_into(vertices.numpy(), faces.numpy(), found)
    used = np.unique(faces.numpy())
    assert np.abs(found - vertex_normals(vertices, faces).numpy())[used].max() < 1e-4
    xy = np.ascontiguousarray(vertices.numpy()[:, :2] * 150 + 32)
    nearness = (1 + vertices[:, 2]).numpy().copy()
    ids, near = nearest_faces(xy, nearness, faces.numpy(), 64, 64)
    expected = nearest_face_ids(torch.from_numpy(xy)[None], torch.from_numpy(nearness)[None], faces, 64, 64)[0].numpy()
    assert np.array_equal(ids, expected) and (near[ids >= 0] > 0.8).all() and (near[ids < 0] == 0).all()


def test_the_light_polynomial_is_the_irradiance() -> None:
    light = sample_light(0, 3)
    normals = sphere_directions(50)
    found = twins.light_on(irradiance_polynomial(light), normals.double().numpy())
    assert np.abs(found - sh_irradiance(normals, light.coefficients).clamp_min(0.01).numpy()).max() < 1e-5


def test_the_grid_is_the_field() -> None:
    grid = head_grid(guards_face=False)
    rng = np.random.default_rng(0)
    cells = rng.uniform(3, 40, (60, 3))
    for cell in cells:
        out = np.zeros(4)
        x, y, z = LOW_MM + SPACING_MM * cell
        sample_grid(grid, x, y, z, out)
        i = cell.astype(int)
        block = grid[i[0] : i[0] + 2, i[1] : i[1] + 2, i[2] : i[2] + 2]
        a = cell - i
        wanted = np.einsum("ijkn,i,j,k->n", block, *(np.array([1 - t, t]) for t in a))
        assert np.abs(out - wanted).max() < 1e-4
    assert np.array_equal(grid[..., 0], grid[::-1, :, :, 0]), "the head is symmetric"


def guides(n: int = 60, length: float = 80.0, gravity: float = 0.5) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(1)
    directions = rng.normal(size=(n, 3)) * np.array([1, 0.3, 1]) + np.array([0, 1.2, 0])
    directions /= np.linalg.norm(directions, axis=-1, keepdims=True)
    roots = np.array([0, 50.0, -10]) + directions * np.array([75.5, 80.5, 93.5])
    one = np.ones(n)
    growth = Growth(directions + np.array([0, 0, -0.5]), length * one, 0.3 * one, gravity * one, 4 * one, 0.3 * one)
    return roots, grow_guides(head_grid(guards_face=False), roots, directions, growth, 16)


def test_guides_keep_their_length_and_stay_outside() -> None:
    roots, grown = guides()
    assert np.array_equal(grown[:, 0], roots)
    lengths = np.linalg.norm(np.diff(grown, axis=1), axis=-1)
    assert np.abs(lengths - 80.0 / 15).max() < 1e-6
    grid, here = head_grid(guards_face=False), np.zeros(4)
    for x, y, z in grown[:, 1:].reshape(-1, 3):
        sample_grid(grid, x, y, z, here)
        assert here[0] > -1.5, (x, y, z)
    assert grown[:, -1, 1].mean() < guides(gravity=0.0)[1][:, -1, 1].mean() - 10, "gravity pulls down"


def test_hairs_start_at_their_roots_and_follow_their_guides() -> None:
    roots, grown = guides()
    hairs = grow_hairs(grown * 1e-3, roots, np.ones((len(roots), 3)), roots * 1e-3, roots,
                       Texture(0.0, 0.0, 10.0, 0.0, 1.0), np.random.default_rng(0))  # fmt: skip
    assert np.abs(hairs[:, 0] - roots * 1e-3).max() < 1e-6
    assert np.linalg.norm(hairs - grown * 1e-3, axis=-1).mean() < 0.006
    curly = grow_hairs(grown * 1e-3, roots, np.ones((len(roots), 3)), roots * 1e-3, roots,
                       Texture(0.0, 3.0, 12.0, 0.0, 1.0), np.random.default_rng(0))  # fmt: skip
    assert (
        np.linalg.norm(np.diff(curly, axis=1), axis=-1).sum()
        > 1.1 * np.linalg.norm(np.diff(hairs, axis=1), axis=-1).sum()
    )


def test_hair_and_head_take_light() -> None:
    light = sample_light(0, 0)
    x = np.linspace(-0.1, 0.1, 60)
    wall = np.stack([np.tile(x, 60), np.repeat(x, 60), np.full(3600, 0.05)], -1).reshape(3600, 1, 3)
    thick = np.concatenate([wall, wall + np.array([0.003, 0.003, 0.0])], 1).astype(np.float32)
    strands = Strands(np.repeat(thick, 40, 0), np.ones((144000, 3), np.float32), np.ones(144000, np.float32))
    empty = np.array([[-9, -9, -9], [-9.1, -9, -9], [-9, -9.1, -9]], np.float32)
    points = np.array([[0, 0, 0.02], [0, 0, 0.15]], np.float32)
    n = np.array([[0, 0, 1.0], [0, 0, 1.0]])
    occluders = occlusion.make_occluders(empty, np.array([[0, 1, 2]]), strands)
    behind, before = occlusion.light_shares(light, occluders, points, n)[0].mean(-1)
    assert before > 0.99 and behind < 0.75 * before
    ahead = np.array([0.0, 0.0, 1.0])
    let_through = twins.strand_light({"hair": occluders.hair}, points, occlusion.VOXEL_M, occlusion.GRID_LOW_M, ahead)
    assert let_through[1] == 1 and let_through[0] < 0.75
    roof = np.array([[-0.1, -0.1, 0.06], [0.1, -0.1, 0.06], [0.1, 0.1, 0.06], [-0.1, 0.1, 0.06]], np.float32)
    shut = occlusion.make_occluders(roof, np.array([[0, 1, 2], [0, 2, 3]]), None)
    covered, free = occlusion.light_shares(light, shut, points, n)[0].mean(-1)
    assert covered < 0.5 and free > 0.99


def test_whiskers_sit_on_the_skin_in_every_pose() -> None:
    subject = prepare_rich(traits(0, haircut="bald", beard="full"), 0, "white")
    whiskers, n_skin = subject.whiskers, len(skin_grid()[0])
    moved = subject.neutral[:n_skin] * np.float32(1.1) + np.float32(0.01)
    corners = moved[skin_grid()[2][whiskers.faces]]
    roots = whiskers.posed(moved)[:, 0]
    assert np.abs(roots - (corners * whiskers.weights[..., None]).sum(1)).max() < 1e-5
    lengths = [np.linalg.norm(np.diff(whiskers.posed(v), axis=1), axis=-1) for v in (subject.neutral[:n_skin], moved)]
    assert np.abs(lengths[0] - lengths[1]).max() < 1e-6, "hair does not stretch with the skin"


@pytest.mark.parametrize("kind", ["round", "rectangle", "wide", "pilot"])
def test_glasses_are_outside_the_head(kind: str) -> None:
    subject = prepare_rich(traits(5, glasses=1.0, haircut="bald", beard="none"), 0, "white")
    glasses = build_glasses(dataclasses.replace(traits(5), glasses=kind), 0, subject.neutral,
                            has_defects=False)  # fmt: skip
    assert glasses is not None
    eyes = subject.neutral[builtin_head().regions["left_eyeball"].numpy()]
    assert glasses.lens_vertices[:, 2].min() > eyes[:, 2].max()
    assert np.ptp(glasses.vertices[:, 0]) > 0.11
    a, b, c = glasses.vertices[glasses.faces].astype(float).transpose(1, 0, 2)
    assert (np.cross(a, b) * c).sum() > 0, "outer sides face outwards"
    mirrored = glasses.vertices * np.array([-1, 1, 1], np.float32)
    nearest = np.linalg.norm(glasses.vertices[:, None] - mirrored[None], axis=-1).min(1)
    assert nearest.max() < 0.004, "both halves alike"


def test_surroundings_turn_with_the_camera() -> None:
    panorama = make_panorama(0, 1, sample_light(0, 1))
    views = [draw_background("surroundings", 0, 1, panorama, view_camera(SynthesizeConfig(), yaw, 0.0, 48))
             for yaw in (0.0, 4.0, 180.0)]  # fmt: skip
    near, far = (np.abs(views[0] - other).mean() for other in views[1:])
    assert near < far and views[0].min() >= 0 and views[0].max() <= 1
    camera = view_camera(SynthesizeConfig(), 179.0, 10.0, 48)
    found = draw_background("surroundings", 0, 1, panorama, camera)
    rows, columns = np.mgrid[:48, :48] + 0.5
    rays = np.stack([columns, rows, np.ones_like(rows)], -1) @ np.linalg.inv(camera.K.numpy()).T
    d = rays @ camera.viewmat[:3, :3].numpy()
    row = (0.5 - np.arctan2(d[..., 1], np.hypot(d[..., 0], d[..., 2])) / np.pi) * 64
    column = (np.arctan2(d[..., 0], d[..., 2]) / (2 * np.pi) + 0.5) * 128
    wrapped = np.concatenate([panorama[:, -4:], panorama, panorama[:, :4]], 1)
    wanted = twins.bilinear(wrapped, row.ravel(), column.ravel() + 4).reshape(48, 48, 3)
    assert np.abs(found - wanted).max() < 0.01


def test_triangles_that_turn_clockwise_where_v_points_down() -> None:
    xy = np.array([[0, 0], [4, 0], [0, 3], [4, 3]], np.float32)
    faces = np.array([[0, 1, 2], [0, 2, 1], [3, 1, 2], [0, 0, 1]])
    assert view._facing(xy, faces).tolist() == [1, 2]


@pytest.mark.parametrize("mirrored", [1.0, -1.0])
def test_alignment_against_the_twin(mirrored: float) -> None:
    rng = np.random.default_rng(0)
    rest = rng.normal(size=(50, 3))
    posed = 1.3 * rest[:, [1, 2, 0]] * [mirrored, 1, 1] + [0.1, 0.2, 0.3] + 0.05 * rng.normal(size=(50, 3))
    expected = similarity_alignment(torch.from_numpy(rest), torch.from_numpy(posed))
    for value, wanted in zip(view.align(rest, posed), expected, strict=True):
        assert np.abs(value - wanted.numpy()).max() < 1e-12
