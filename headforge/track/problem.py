"""What is fitted: settings, unknowns, observations, and the cost with its priors."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from headforge.flame.landmarks import MAX_CONTOUR_YAW_DEG
from headforge.geometry.rotations import axis_angle_to_matrix
from headforge.track.basis import LandmarkBasis
from headforge.track.initialise import MEDIAN_TO_SIGMA, visible_median

N_POSE = 6
N_JAW = 3
MIN_DEPTH_M = 0.05
"""A candidate that brings a landmark nearer to the camera than this is refused."""


@dataclass(frozen=True)
class FitSettings:
    """How one subject is fitted; the stage's settings are turned into this."""

    sigma_px: float
    """Standard deviation of a landmark's error, per coordinate."""
    focal_px: float
    """The known focal length, or the start of the search."""
    focal_known: bool = False
    focal_sigma_log: float = 0.5
    """Prior width of log(focal / start); unused if the focal length is known."""
    shape_sigma: float = 1.0
    """Prior width of the shape coefficients, themselves in standard deviations."""
    expr_sigma: float = 1.0
    jaw_mean_rad: tuple[float, float, float] = (0.0, 0.0, 0.0)
    jaw_sigma_rad: tuple[float, float, float] = (0.15, 0.03, 0.03)
    """Prior of the jaw's axis-angle vector; x opens the mouth."""
    one_moment: bool = False
    """All views show the same expression and jaw: cameras around a person, not frames of a video."""
    coefficient_limit: float = math.inf
    """Beyond this many standard deviations a coefficient is pulled back by a stiff spring and finally clipped."""
    outlier_sigmas: float = 4.5
    """A point farther off than this many robust standard deviations counts as an outlier in the last iterations."""
    n_iterations: int = 14
    n_annealing: int = 4
    """Iterations with the Geman-McClure kernel before the truncated square takes over."""
    jacobian_dtype: torch.dtype = torch.float32


@dataclass(frozen=True)
class FitState:
    """The unknowns of one subject with V views, float64."""

    log_focal: Tensor
    """[] log of the focal length in pixels."""
    shape: Tensor
    """[S] coefficients of the basis."""
    expr: Tensor
    """[V, E]; [1, E] for views of one moment."""
    jaw: Tensor
    """[V, 3] axis-angle; [1, 3] for views of one moment."""
    rotation: Tensor
    """[V, 3, 3] world to camera."""
    translation: Tensor
    """[V, 3] metres."""


@dataclass(frozen=True)
class Outline:
    """Which points of a basis are the landmarks of a view, by the yaw that it is taken from."""

    rows: Tensor
    """[79, L] by `contour_bin`."""

    def rows_at(self, yaw_deg: Tensor) -> Tensor:
        """[V, L] for the azimuths [V]."""
        angle = yaw_deg.clamp(-MAX_CONTOUR_YAW_DEG, MAX_CONTOUR_YAW_DEG).round().long()
        return self.rows[torch.where(angle < 0, MAX_CONTOUR_YAW_DEG - angle, angle)]


@dataclass(frozen=True)
class Problem:
    """One subject's observations beside what they are explained with."""

    basis: LandmarkBasis
    """Of P points."""
    points: Tensor
    """[V, L, 2] pixels from the principal point, float64."""
    weights: Tensor
    """[V, L] confidences; 0 hides a point."""
    settings: FitSettings
    outline: Outline | None = None
    """How the jaw line follows the turned head; None if the landmarks are fixed points of the head."""
    rows: Tensor | None = None
    """[V, L] each view's points among the P; None if the L are the P, in order. Set by `following`."""

    @property
    def n_local(self) -> int:
        """Unknowns of one view: turn 3, move 3 and, unless shared, jaw 3 and expression E."""
        return N_POSE if self.settings.one_moment else N_POSE + N_JAW + self.basis.n_expr

    def following(self, state: FitState) -> Problem:
        """The same problem with the jaw lines as the state's cameras see them."""
        return self if self.outline is None else replace(self, rows=self.outline.rows_at(view_yaws_deg(state)))

    def own_points(self, values: Tensor) -> Tensor:
        """Each view's [V, L, ...] of values [M, P, ...] for M moments; without `rows` just [M, L, ...]."""
        if self.rows is None:
            return values
        moments = torch.zeros(1, 1, dtype=torch.int64) if len(values) == 1 else torch.arange(len(values))[:, None]
        return values[moments, self.rows]


@dataclass(frozen=True)
class Kernel:
    """rho as weights and cost of squared residual lengths in units of sigma."""

    scale_sq: Tensor
    """[] squared scale or threshold."""
    truncated: bool

    def weight(self, squares: Tensor) -> Tensor:
        """Derivative of rho by the squared length."""
        if self.truncated:
            return (squares <= self.scale_sq).to(squares.dtype)
        return (1 + squares / self.scale_sq).square().reciprocal()

    def rho(self, squares: Tensor) -> Tensor:
        """Robust squared length."""
        if self.truncated:
            return squares.minimum(self.scale_sq)
        return squares / (1 + squares / self.scale_sq)


@dataclass(frozen=True)
class Geometry:
    """What projecting leaves behind for the Jacobian; V views, L points."""

    carried: Tensor
    """[M, P, 3] what the jaw's rotation minus identity acts on."""
    jaw_change: Tensor
    """[M, 3, 3] rotation of the jaw minus identity."""
    rotated: Tensor
    """[V, L, 3] points in camera axes, before the translation."""
    local: Tensor
    """[V, L, 3] points in the camera."""


def landmark_points(basis: LandmarkBasis, state: FitState) -> tuple[Tensor, Tensor, Tensor]:
    """Points on the still head and the part the jaw carries, both [M, P, 3], and the jaw's rotation - 1 [M, 3, 3].

    M moments: the views, or 1 if they share one.
    """
    n_shape = basis.n_shape
    jaw_change = axis_angle_to_matrix(state.jaw) - torch.eye(3, dtype=state.jaw.dtype)
    feature = jaw_change.flatten(1)

    def evaluate(maps: Tensor, pose: Tensor) -> Tensor:
        shared = maps[..., 0] + maps[..., 1 : 1 + n_shape] @ state.shape
        moved = state.expr @ maps[..., 1 + n_shape :].flatten(0, 1).T + feature @ pose.flatten(0, 1).T
        return shared + moved.unflatten(-1, (-1, 3))

    carried = evaluate(basis.carried, basis.carried_pose)
    return evaluate(basis.plain, basis.plain_pose) + carried @ jaw_change.transpose(1, 2), carried, jaw_change


def view_yaws_deg(state: FitState) -> Tensor:
    """[V] azimuth of each view's camera about the head's origin."""
    centre = -(state.rotation.transpose(1, 2) @ state.translation[..., None])[..., 0]
    return torch.rad2deg(torch.atan2(centre[:, 0], centre[:, 2]))


def project_state(problem: Problem, state: FitState) -> tuple[Tensor, Geometry]:
    """Residuals [V, L, 2] in pixels (predicted minus observed) and the geometry behind them."""
    points, carried, jaw_change = landmark_points(problem.basis, state)
    rotated = problem.own_points(points) @ state.rotation.transpose(1, 2)
    local = rotated + state.translation[:, None]
    predicted = state.log_focal.exp() * local[..., :2] / local[..., 2:].clamp_min(MIN_DEPTH_M)
    return predicted - problem.points, Geometry(carried, jaw_change, rotated, local)


def choose_kernel(problem: Problem, residuals: Tensor, truncated: bool) -> Kernel:
    """The kernel whose scale follows the median residual, never tighter than the stated noise."""
    squares = residuals.square().sum(-1) / problem.settings.sigma_px**2
    median = visible_median(squares.flatten(), problem.weights.flatten())
    spread = (median.sqrt() * MEDIAN_TO_SIGMA).clamp_min(1.0)
    factor = problem.settings.outlier_sigmas if truncated else 3.0
    return Kernel((factor * spread).square(), truncated)


def total_cost(problem: Problem, state: FitState, residuals: Tensor, kernel: Kernel) -> Tensor:
    """Robust data term plus priors, dimensionless."""
    squares = residuals.square().sum(-1) / problem.settings.sigma_px**2
    data = (problem.weights * kernel.rho(squares)).sum()
    return data + sum(term.value for term in prior_terms(problem, state))


@dataclass(frozen=True)
class PriorTerm:
    """A quadratic model of one block's prior: value, gradient / 2 and Hessian / 2 (diagonal or full)."""

    value: Tensor
    gradient: Tensor
    hessian: Tensor


def prior_terms(problem: Problem, state: FitState) -> tuple[PriorTerm, PriorTerm, PriorTerm, PriorTerm]:
    """Priors of log focal [], shape [S], expression [V, E] and jaw [V, 3]."""
    settings, basis = problem.settings, problem.basis
    stiffness = 0.0 if settings.focal_known else settings.focal_sigma_log**-2
    offset = state.log_focal - math.log(settings.focal_px)
    focal = PriorTerm(stiffness * offset.square(), stiffness * offset, torch.tensor(stiffness, dtype=torch.float64))
    shape = _coefficient_prior(state.shape[None], basis.shape_map, settings.shape_sigma, settings)
    expr = _coefficient_prior(state.expr, basis.expr_map, settings.expr_sigma, settings)
    jaw_offset = state.jaw - state.jaw.new_tensor(settings.jaw_mean_rad)
    jaw_stiffness = state.jaw.new_tensor(settings.jaw_sigma_rad) ** -2
    jaw = PriorTerm(
        (jaw_stiffness * jaw_offset.square()).sum(),
        jaw_stiffness * jaw_offset,
        torch.diag(jaw_stiffness).expand(len(state.jaw), 3, 3),
    )
    return focal, PriorTerm(shape.value, shape.gradient[0], shape.hessian[0]), expr, jaw


LIMIT_STIFFNESS = 1e3
LIMIT_MARGIN = 0.1


def _coefficient_prior(reduced: Tensor, to_full: Tensor, sigma: float, settings: FitSettings) -> PriorTerm:
    """Isotropic Gaussian on [N, C] coefficients plus springs on the full ones that pass the limit."""
    identity = torch.eye(reduced.shape[1], dtype=reduced.dtype)
    value = reduced.square().sum() / sigma**2
    gradient = reduced / sigma**2
    hessian = (identity / sigma**2).expand(len(reduced), -1, -1)
    if math.isfinite(settings.coefficient_limit):
        full = reduced @ to_full.T
        excess = (full.abs() - (settings.coefficient_limit - LIMIT_MARGIN)).clamp_min(0) * full.sign()
        value = value + LIMIT_STIFFNESS * excess.square().sum()
        gradient = gradient + LIMIT_STIFFNESS * excess @ to_full
        active = LIMIT_STIFFNESS * (excess != 0).to(full.dtype)
        hessian = hessian + to_full.T @ (active[..., None] * to_full)
    return PriorTerm(value, gradient, hessian)
