"""The solver, the photometric refinement and the gaze compute where their inputs are."""

from __future__ import annotations

import dataclasses
from functools import cache

import numpy as np
import pytest
import torch
from torch import Tensor

from headforge.errors import DeviceError
from headforge.flame.builtin.head import builtin_head
from headforge.flame.model import HeadModel
from headforge.track import gaze
from headforge.track.photometric import photometric
from headforge.track.photometric.photometric import PhotometricSettings, Pictures, drawn_faces, refine_subject
from headforge.track.solver import (
    basis,
    equations,
    fitted,
    initialise,
    jaw_line,
    moment_kernel,
    outline,
    placement,
    prior,
    problem,
    solver,
    twin,
)
from headforge.track.solver.basis import LandmarkBasis
from headforge.track.solver.equations import NormalSystem
from headforge.track.solver.outline import Outline
from headforge.track.solver.placement import Placement, Rig
from headforge.track.solver.problem import Geometry, Kernel, Problem
from headforge.track.solver.state import FitSettings, FitState
from headforge.types import Camera
from tests.devices import META, Call, check_complete, check_on_cpu, check_on_meta, moved, parametrized, tensors_in
from tests.heads import tiny_head
from tests.track.scenes import make_scene

CONVERGES = "iterates until the cost stops falling"
SINGULAR = "asks whether a matrix is positive definite"
HEAD = tiny_head()
EXACT = FitSettings(sigma_px=1.0, focal_px=600.0, jacobian_dtype=torch.float64)


def told(one_moment: bool = False, dtype: torch.dtype = torch.float32) -> Problem:
    scene = make_scene(HEAD, n_views=4)
    settings = dataclasses.replace(EXACT, one_moment=one_moment, jacobian_dtype=dtype, coefficient_limit=0.5)
    return Problem(basis.landmark_basis(HEAD), scene.points - 128, scene.weights, settings)


@cache
def turning_head() -> HeadModel:
    return builtin_head()


def outlined() -> Problem:
    """With jaw lines that follow the outline."""
    points, lines = jaw_line.outline_of(turning_head())
    scene = make_scene(turning_head(), n_views=3)
    return Problem(points, scene.points - 128, scene.weights, EXACT, lines)


def start(one_moment: bool = False) -> FitState:
    return solver.initial_state(told(one_moment))


def outlined_state() -> FitState:
    return solver.initial_state(outlined())


def geometry(one_moment: bool = False) -> Geometry:
    return problem.project_state(told(one_moment), start(one_moment))[1]


def residuals(one_moment: bool = False) -> Tensor:
    return problem.project_state(told(one_moment), start(one_moment))[0]


def kernel() -> Kernel:
    return Kernel(torch.tensor(9.0, dtype=torch.float64), False)


def system(one_moment: bool = False) -> NormalSystem:
    p = told(one_moment)
    return equations.normal_equations(p, start(one_moment), residuals(one_moment), geometry(one_moment), kernel())


def linearised(one_moment: bool, dtype: torch.dtype = torch.float32) -> tuple[object, ...]:
    moment = one_moment
    return told(moment, dtype), start(moment), residuals(moment), geometry(moment)


def rig() -> Rig:
    return Rig.of(make_scene(HEAD, n_views=4).camera)


def placed() -> Placement:
    return Placement(torch.eye(3).double(), torch.zeros(3).double(), torch.ones(()).double())


def fit() -> solver.Fit:
    return solver.Fit(start(), residuals(), residuals()[..., 0] > 0, 0.0, 0)


def weights() -> Tensor:
    return told().weights


def rows(*shape: int) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def camera() -> Camera:
    return make_scene(HEAD, n_views=4).camera


def photographs() -> tuple[object, ...]:
    scene = make_scene(HEAD, n_views=3, size=32)
    images, masks = np.full((3, 32, 32, 3), 128, np.uint8), np.full((3, 32, 32), 255, np.uint8)
    settings = PhotometricSettings(n_texture_steps=2, n_joint_steps=2, render_size=16, texture_size=8)
    return HEAD, scene.params, scene.camera, Pictures(images, masks, scene.points, scene.weights), settings


def eyes() -> tuple[object, ...]:
    head = turning_head()
    scene = make_scene(head, n_views=1)
    return head, scene.params[0], scene.camera[0], torch.tensor([[120.0, 128.0], [136.0, 128.0]])


CALLS = [
    Call(basis.landmark_basis, lambda: (HEAD,)),
    Call(LandmarkBasis.in_order, lambda: (told().basis, torch.float32)),
    Call(LandmarkBasis.points, lambda: (told().basis, torch.tensor([1, 2]))),
    Call(LandmarkBasis.reduced, lambda: (told().basis,), reason="drops what moves no point"),
    Call(jaw_line.contour_embedding, lambda: (turning_head(), 20.0)),
    Call(jaw_line.landmark_weights, lambda: (HEAD, 20.0)),
    Call(jaw_line.outline_of, lambda: (turning_head(),)),
    Call(Outline.rows, lambda: (outlined().outline, 20 * rows(3))),
    Call(Outline.layout, lambda: (outlined().outline, 20 * rows(3)), reason="keeps the yaws that occur"),
    Call(Problem.settled, lambda: (outlined(), outlined_state()), reason="keeps the yaws that occur"),
    Call(Problem.following, lambda: (outlined(), outlined_state()), reason="keeps the yaws that occur"),
    Call(initialise.weak_perspective, lambda: (rows(68, 3), weights(), told().points, 600.0)),
    Call(initialise.visible_median, lambda: (rows(4, 68), weights())),
    Call(problem.landmark_points, lambda: (told().basis, start())),
    Call(problem.landmark_points, lambda: (told(True).basis, start(True))),
    Call(problem.view_yaws_deg, lambda: (start(),)),
    Call(problem.project_state, lambda: (told(), start())),
    Call(problem.choose_kernel, lambda: (told(), residuals(), True), reason="the median of the visible points"),
    Call(problem.total_cost, lambda: (told(), start(), residuals(), kernel())),
    Call(prior.prior_value, lambda: (told().basis, told().settings, start())),
    Call(prior.prior_terms, lambda: (told().basis, told().settings, start())),
    Call(equations.screen_columns, lambda: (told(), start(), geometry()), reason="reads the focal length"),
    Call(equations.jacobian, lambda: (told(), start(), geometry()), reason="reads the focal length"),
    Call(equations.jaw_derivative, lambda: (told().basis, start(), geometry())),
    Call(equations.right_jacobian, lambda: (rows(2, 3),)),
    Call(equations.moment_derivative, lambda: (told().basis, start(True), geometry(True), torch.float64)),
    *(Call(equations.normal_equations, lambda moment=moment, dtype=dtype: (*linearised(moment, dtype), kernel()),
           reason="reads the focal length") for moment in (False, True) for dtype in (torch.float32, torch.float64)),
    Call(equations.column_blocks, lambda: (*linearised(False), weights()), reason="reads the focal length"),
    Call(equations.moment_blocks, lambda: (*linearised(True), weights()), reason="reads the focal length"),
    Call(equations.fused_moment_blocks, lambda: (*linearised(True), weights()), reason="a kernel for the processor"),
    Call(equations.solve_step, lambda: (system(), 1e-3), reason=SINGULAR),
    Call(solver.initial_state, lambda: (told(),)),
    Call(solver.apply_step, lambda: (start(), rows(4, 6 + 3 + 6), rows(1 + 8))),
    Call(solver.clipped, lambda: (told(), start())),
    Call(solver.advance_freely, lambda: (system(), start(), 1e-3), reason=SINGULAR),
    Call(solver.fit_subject, lambda: (told(),), reason=CONVERGES),
    Call(solver.fit_subject, lambda: (told(True),), reason=CONVERGES),
    Call(solver.fit_subject, lambda: (outlined(),), reason=CONVERGES),
    Call(Rig.of, lambda: (camera(),)),
    Call(placement.solve_place, lambda: (rig(), rows(4, 3)), reason="torch has no least squares on `meta`"),
    Call(placement.placement_of, lambda: (rig(), start()), reason="torch has no least squares on `meta`"),
    Call(placement.initial_placement, lambda: (rig(), rig().rotation, rig().translation),
         reason="asks which views agree"),
    Call(placement.pose_ties, lambda: (rig(), placed())),
    Call(placement.tie_views, lambda: (system(), placement.pose_ties(rig(), placed()))),
    Call(placement.move_placement, lambda: (placed(), rows(7))),
    Call(placement.AdvanceTied.__call__, lambda: (placement.AdvanceTied(rig()), system(), start(), 1e-3),
         reason=SINGULAR),
    Call(fitted.fitted_camera, lambda: (fit(), 1, 256, 256), reason="reads the focal length"),
    Call(fitted.fitted_params, lambda: (HEAD, told().basis, fit(), 1)),
    Call(twin.project_with_head, lambda: (HEAD, start())),
    Call(twin.moved, lambda: (start(), rows(4 * 15 + 9))),
    Call(twin.dense_system, lambda: (system(),)),
    Call(twin.dense_step, lambda: (system(), 1e-3)),
    Call(drawn_faces, lambda: (HEAD,)),
    Call(refine_subject, photographs, reason="draws meshes"),
    Call(gaze.pupil_vertices, lambda: (turning_head(),), reason="looks for the foremost vertex"),
    Call(gaze.solve_gaze, eyes, reason="looks for the foremost vertex"),
]  # fmt: skip
OTHERS = {"track.solver.moment_kernel.moment_sums": "test_the_fast_kernel_says_that_it_is_for_the_processor"}
MODULES = (
    basis, equations, fitted, initialise, jaw_line, moment_kernel, outline, placement, prior, problem, solver, twin,
    photometric, gaze,
)  # fmt: skip
METHODS = ("LandmarkBasis", "Outline", "Problem", "Rig", "AdvanceTied")
"""Classes that are no networks, whose methods are called beyond what is asked for."""
runs_on_meta, all_calls = parametrized(CALLS)


@runs_on_meta
def test_on_meta(call: Call) -> None:
    check_on_meta(call)


@all_calls
def test_on_the_cpu_whatever_the_default_device_is(call: Call) -> None:
    check_on_cpu(call)


def test_no_entry_point_is_left_out() -> None:
    calls = [c for c in CALLS if not any(f".{name}." in c.name for name in METHODS)]
    check_complete(calls, OTHERS, MODULES)


def test_the_fast_kernel_says_that_it_is_for_the_processor() -> None:
    p, state, offsets, seen = linearised(True)
    derivative = equations.moment_derivative(told(True).basis, start(True), geometry(True), torch.float32)
    inputs = (p, state, offsets, seen, weights(), derivative)
    with torch.device("meta"):
        found = moment_kernel.moment_sums(*inputs)  # type: ignore[arg-type]
    assert all(tensor.is_cpu for tensor in tensors_in(found))
    there = moved(inputs, META)
    with pytest.raises(DeviceError, match="residuals is on the device meta; the solver's fast kernel needs it on cpu"):
        moment_kernel.moment_sums(*there)
