"""Multi-view landmark fitting: accuracy and speed of the solver, against Adam on the same cost.

    python benchmarks/track.py [--json] [--out benchmarks/results/track.json] [--subjects N] [--adam-iterations N]
        [--head FILE]

The scene is one moment seen by 60 cameras (512 px, field of view 40 degrees, +-60 degrees of yaw, 0.45 to 0.6 m away,
so that the head fills about two thirds of the height): 68 points, 1 px noise per coordinate, 30 % hidden, 5 % gross
outliers, unknown focal length. The points are where a detector marks them: the jaw line follows the outline of the
turned head. `static_*` is the same with 17 fixed points of the skin as the jaw line. `free_*` is the harder problem of
the demo's dataset, where each of 24 views (128 px, field of view 22 degrees, noise 0.2 % of the width) has an
expression of its own. `*bound_mm` is the vertex error that no estimator can be expected to beat: the error of draws
from the posterior (priors as drawn from, inliers known, linear at the truth). Everything runs on one thread; times are
process CPU times.
"""

from __future__ import annotations

import math
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.record import arguments, finish, machine_record
from headforge.flame.builtin.head import builtin_head
from headforge.flame.files import head_digest, load_head
from headforge.flame.model import HeadModel, landmarks, pose_head
from headforge.geometry.cameras import focal_px_from_fov, orbit_camera, project, yaw_pitch_deg
from headforge.geometry.meshes import interpolate_on_faces
from headforge.geometry.rotations import axis_angle_to_matrix
from headforge.track.quality import vertex_error_mm
from headforge.track.solver.basis import LandmarkBasis, landmark_basis
from headforge.track.solver.equations import normal_equations
from headforge.track.solver.fitted import fitted_params
from headforge.track.solver.jaw_line import contour_embedding, outline_of
from headforge.track.solver.outline import Outline
from headforge.track.solver.problem import Kernel, Problem, project_state
from headforge.track.solver.solver import Fit, apply_step, fit_subject, initial_state
from headforge.track.solver.state import FitSettings, FitState
from headforge.types import Camera, HeadParams

ADAM_STEPS = (250, 500, 1000, 2000, 4000, 8000)
WITHIN = 1.5
"""Adam counts as converged when its vertex error is within this factor of the solver's."""


@dataclass(frozen=True)
class SceneSettings:
    """One kind of capture."""

    n_views: int
    size: int
    fov_deg: float
    nearest_m: float
    farthest_m: float
    noise_px: float
    hidden: float
    outliers: float
    one_moment: bool
    outline: bool
    """Whether the jaw line follows the outline of the turned head."""


STUDIO = SceneSettings(60, 512, 40.0, 0.45, 0.6, 1.0, 0.3, 0.05, one_moment=True, outline=True)
STATIC = replace(STUDIO, outline=False)
FREE = SceneSettings(24, 128, 22.0, 0.92, 0.92, 0.256, 0.3, 0.0, one_moment=False, outline=False)


@dataclass(frozen=True)
class Scene:
    """A subject's problem and the truth."""

    problem: Problem
    camera: Camera
    params: HeadParams
    clean: Tensor


@dataclass(frozen=True)
class Points:
    """The head model's points that landmarks are fitted with."""

    basis: LandmarkBasis
    outline: Outline | None

    @staticmethod
    def of(head: HeadModel, kind: SceneSettings) -> Points:
        """Return fixed points, or a jaw line that follows the outline."""
        return Points(*outline_of(head)) if kind.outline else Points(landmark_basis(head), None)


def marked_points(head: HeadModel, params: HeadParams, camera: Camera, kind: SceneSettings) -> Tensor:
    """Return the landmarks' positions [V, 68, 3] in each view, jaw lines to the degree."""
    vertices = pose_head(head, params)
    if not kind.outline:
        return landmarks(head, vertices)
    yaws = yaw_pitch_deg(camera)[0]
    embeddings = [contour_embedding(head, float(yaw)) for yaw in yaws]
    return torch.stack([interpolate_on_faces(v, head.faces, *e) for v, e in zip(vertices, embeddings, strict=True)])


def make_scene(head: HeadModel, points_of: Points, kind: SceneSettings, seed: int) -> Scene:
    """Return the scene of a random person; every value depends on the seed."""
    generator = torch.Generator().manual_seed(seed)
    n, size = kind.n_views, kind.size

    def uniform(*shape: int) -> Tensor:
        return torch.rand(*shape, generator=generator)

    yaw, pitch = 120 * uniform(n) - 60, 75 * uniform(n) - 30
    distance = kind.nearest_m + (kind.farthest_m - kind.nearest_m) * uniform(n)
    focal = focal_px_from_fov(kind.fov_deg, size)
    camera = Camera.stack(
        [
            orbit_camera(yaw[i], pitch[i], distance_m=float(distance[i]), focal_px=focal, width=size, height=size)
            for i in range(n)
        ]
    )
    moments = 1 if kind.one_moment else n
    params = head.neutral((n,)).replace(
        shape=torch.randn(head.n_shape, generator=generator).expand(n, -1),
        expr=(0.5 * torch.randn(moments, head.n_expr, generator=generator)).expand(n, -1),
        jaw=(uniform(moments, 3) * torch.tensor([0.2, 0.01, 0.01])).expand(n, -1),
    )
    pixels = project(camera, marked_points(head, params, camera, kind))[0].double()
    points = pixels + kind.noise_px * torch.randn(pixels.shape, generator=generator, dtype=torch.float64)
    visible = uniform(n, 68) >= kind.hidden
    wrong = uniform(n, 68) < kind.outliers
    gross = 0.1 * size * torch.randn(pixels.shape, generator=generator, dtype=torch.float64)
    points = points + gross * wrong[..., None]
    settings = FitSettings(
        sigma_px=kind.noise_px,
        focal_px=focal_px_from_fov(30.0, size),
        one_moment=kind.one_moment,
        expr_sigma=0.5,
        n_annealing=3,
        tolerance=1e-5,
    )
    problem = Problem(points_of.basis, points - size / 2, visible.double(), settings, points_of.outline)
    return Scene(problem, camera, params, visible & ~wrong)


def parameter_vertex_error_mm(head: HeadModel, scene: Scene, fit: Fit) -> float:
    """Return the face region's error after similarity alignment, mean over 4 views (or the single moment)."""
    basis = scene.problem.basis
    rows = [0] if scene.problem.settings.one_moment else list(range(0, len(scene.clean), len(scene.clean) // 4))
    return vertex_error_mm(head, [fitted_params(head, basis, fit, row) for row in rows], scene.params, rows)


def posterior_bound_mm(head: HeadModel, scene: Scene, n_draws: int = 8) -> float:
    """Return the mean vertex error of draws from the posterior of a one-moment scene about its exact values."""
    params, viewmat = scene.params, scene.camera.viewmat.double()
    exact = FitState(
        log_focal=scene.camera.K[0, 0, 0].double().log(),
        shape=params.shape[0].double(),
        expr=params.expr[:1].double(),
        jaw=params.jaw[:1].double(),
        rotation=viewmat[:, :3, :3],
        translation=viewmat[:, :3, 3],
    )
    problem = replace(scene.problem, weights=scene.clean.double()).following(exact)
    residuals, geometry = project_state(problem, exact)
    everything = Kernel(torch.tensor(torch.inf, dtype=torch.float64), truncated=True)
    system = normal_equations(problem, exact, residuals, geometry, everything)
    by_view = torch.linalg.solve(system.local, system.cross)
    precision = system.shared - system.cross.flatten(0, 1).T @ by_view.flatten(0, 1)
    root = torch.linalg.cholesky(torch.linalg.inv(precision))
    generator = torch.Generator().manual_seed(0)
    errors = []
    for _ in range(n_draws):
        step = root @ torch.randn(len(root), generator=generator, dtype=torch.float64)
        drawn = Fit(apply_step(exact, torch.zeros(len(exact.rotation), 6).double(), step), residuals,
                    scene.clean, 0.0, 0)  # fmt: skip
        errors.append(parameter_vertex_error_mm(head, scene, drawn))
    return sum(errors) / n_draws


@dataclass(frozen=True)
class Score:
    """Means over subjects."""

    rms_px: float
    noise_floor_px: float
    vertex_mm: float
    focal_pct: float
    subjects_per_s: float


def solve_all(head: HeadModel, kind: SceneSettings, n_subjects: int) -> Score:
    """Fit `n_subjects` scenes after one warm-up scene."""
    points_of = Points.of(head, kind)
    scenes = [make_scene(head, points_of, kind, seed) for seed in range(n_subjects)]
    fit_subject(scenes[0].problem)
    start = time.process_time()
    fits = [fit_subject(scene.problem) for scene in scenes]
    seconds = time.process_time() - start
    squares, coordinates, unknowns = 0.0, 0, 0
    vertex, focal = [], []
    for scene, fit in zip(scenes, fits, strict=True):
        squares += float(fit.residuals[scene.clean].square().sum())
        coordinates += 2 * int(scene.clean.sum())
        unknowns += 6 * kind.n_views + fit.state.jaw.numel() + fit.state.expr.numel() + 1 + head.n_shape
        vertex.append(parameter_vertex_error_mm(head, scene, fit))
        focal.append(100 * abs(float(fit.state.log_focal.exp()) / float(scene.camera.K[0, 0, 0]) - 1))
    return Score(
        math.sqrt(squares / coordinates),
        kind.noise_px * math.sqrt(1 - unknowns / coordinates),
        sum(vertex) / n_subjects,
        sum(focal) / n_subjects,
        n_subjects / seconds,
    )


def adam_seconds_per_subject(
    head: HeadModel, target_mm: float, max_iterations: int, n_subjects: int = 4
) -> tuple[float, int, float]:
    """Return CPU seconds per subject, iterations and vertex error of the shortest Adam fit reaching `target_mm`.

    Subjects are batched, started like the solver, with its cost (Geman-McClure data term and the same priors) and a
    cosine schedule; each view's jaw line is given. If no length up to `max_iterations` converges, the longest one is
    returned: a lower bound.
    """
    points_of = Points.of(head, STUDIO)
    scenes = [make_scene(head, points_of, STUDIO, seed) for seed in range(n_subjects)]
    result = (math.nan, 0, math.nan)
    for n_iterations in [n for n in ADAM_STEPS if n <= max_iterations]:
        start = time.process_time()
        states = _adam(points_of, scenes, n_iterations)
        seconds = (time.process_time() - start) / n_subjects
        errors = []
        for scene, state in zip(scenes, states, strict=True):
            blank = Fit(state, scene.problem.points, scene.clean, 0.0, n_iterations)
            errors.append(parameter_vertex_error_mm(head, scene, blank))
        result = (seconds, n_iterations, sum(errors) / len(errors))
        if result[2] <= target_mm:
            break
    return result


def _adam(points_of: Points, scenes: list[Scene], n_iterations: int) -> list[FitState]:
    basis, rows = _told_points(points_of, scenes)
    starts = [initial_state(scene.problem) for scene in scenes]
    settings = scenes[0].problem.settings
    n_shape = basis.n_shape
    plain, carried = basis.plain.float(), basis.carried.float()
    points = torch.stack([scene.problem.points for scene in scenes]).float()
    weights = torch.stack([scene.problem.weights for scene in scenes]).float()
    first = torch.stack([state.rotation for state in starts]).float()
    coefficients = torch.zeros(len(scenes), n_shape + basis.n_expr, requires_grad=True)
    jaw = torch.zeros(len(scenes), 3, requires_grad=True)
    turn = torch.zeros(*points.shape[:2], 3, requires_grad=True)
    move = torch.stack([state.translation for state in starts]).float().requires_grad_()
    log_focal = torch.stack([state.log_focal for state in starts]).float().requires_grad_()
    sigma = torch.tensor(settings.jaw_sigma_rad)
    subjects = torch.arange(len(scenes))[:, None, None]
    widths = torch.tensor([settings.shape_sigma] * n_shape + [settings.expr_sigma] * basis.n_expr)
    groups = [
        {"params": [coefficients], "lr": 0.05},
        {"params": [jaw, turn], "lr": 0.005},
        {"params": [move, log_focal], "lr": 0.005},
    ]
    optimizer = torch.optim.Adam(groups)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, n_iterations)
    for _ in range(n_iterations):
        optimizer.zero_grad()
        change = axis_angle_to_matrix(jaw) - torch.eye(3)
        with_one = torch.cat([torch.ones(len(scenes), 1), coefficients], dim=-1)
        body, hinged = torch.einsum("lcn,bn->blc", plain, with_one), torch.einsum("lcn,bn->blc", carried, with_one)
        body = body + hinged @ change.transpose(1, 2)
        rotation = axis_angle_to_matrix(turn) @ first
        local = body[subjects, rows] @ rotation.transpose(2, 3) + move[:, :, None]
        predicted = log_focal.exp()[:, None, None, None] * local[..., :2] / local[..., 2:]
        squares = (predicted - points).square().sum(-1) / settings.sigma_px**2
        data = (weights * squares / (1 + squares / 20.0)).sum()
        prior = (coefficients / widths).square().sum() + (jaw / sigma).square().sum()
        (data + prior).backward()
        optimizer.step()
        schedule.step()
    with torch.no_grad():
        rotation = axis_angle_to_matrix(turn) @ first
    return [
        FitState(
            log_focal[b].detach().double(),
            coefficients[b, :n_shape].detach().double(),
            coefficients[b, n_shape:].detach().double()[None],
            jaw[b].detach().double()[None],
            rotation[b].double(),
            move[b].detach().double(),
        )
        for b in range(len(scenes))
    ]


def _told_points(points_of: Points, scenes: list[Scene]) -> tuple[LandmarkBasis, Tensor]:
    """Return the points that the views need for their exact yaws, and each view's indices into them [B, V, 68]."""
    shape = (len(scenes), len(scenes[0].clean))
    if points_of.outline is None:
        return points_of.basis, torch.arange(68).expand(*shape, 68)
    yaws = torch.cat([yaw_pitch_deg(scene.camera)[0] for scene in scenes])
    basis, rows = points_of.outline.layout(yaws)
    return basis, rows.unflatten(0, shape)


def main() -> None:
    """Run everything and print it as a table, with --json also as one JSON object in the last line."""
    parser = arguments(__doc__)
    parser.add_argument("--subjects", type=int, default=24, help="subjects the solver is measured on")
    parser.add_argument("--adam-iterations", type=int, default=8000, help="longest Adam fit to try; 0 leaves Adam out")
    parser.add_argument("--head", type=Path, help="file of another head model than the builtin one")
    options = parser.parse_args()
    torch.set_num_threads(1)
    head = load_head(options.head) if options.head else builtin_head()
    studio = solve_all(head, STUDIO, options.subjects)
    result: dict[str, object] = dict(vars(studio))
    for name, kind in (("static", STATIC), ("free", FREE)):
        score = solve_all(head, kind, options.subjects)
        result |= {f"{name}_{key}": value for key, value in vars(score).items()}
    for name, kind in (("", STUDIO), ("static_", STATIC)):
        points_of = Points.of(head, kind)
        bounds = [posterior_bound_mm(head, make_scene(head, points_of, kind, i)) for i in range(options.subjects)]
        result[f"{name}bound_mm"] = sum(bounds) / len(bounds)
    if options.adam_iterations >= ADAM_STEPS[0]:
        seconds, n_iterations, error = adam_seconds_per_subject(
            head, WITHIN * studio.vertex_mm, options.adam_iterations
        )
        result["speedup_over_adam"] = seconds * studio.subjects_per_s
        result["adam_iterations"] = n_iterations
        result["adam_vertex_mm"] = error
        result["adam_arrived"] = error <= WITHIN * studio.vertex_mm
    result |= {"n_subjects": options.subjects, "head_model": head.model_id, "head_digest": head_digest(head)}
    finish(result | machine_record(seeds=list(range(options.subjects))), options)


if __name__ == "__main__":
    main()
