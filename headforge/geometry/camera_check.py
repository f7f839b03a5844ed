"""Detection of a camera convention from landmarks that several pictures show.

Every common way of writing a pose (axes flipped, matrix inverted, intrinsics divided by the picture's size) is tried on
the cameras: under the right one the landmarks of all pictures meet in space, in front of the cameras. Known points in
the world are projected instead, which also works for a single picture.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from headforge.errors import InputError, ShapeError
from headforge.geometry.cameras import project, transform_points
from headforge.geometry.meshes import similarity_alignment
from headforge.types import Camera

FINE = "as_stated"
UNCLEAR = "unclear"
MAX_ERROR = 0.15
"""Largest median reprojection error of a right convention, as a share of the landmarks' spread in the picture."""
CLEARLY_BETTER = 0.5
"""Another convention is named only if its error is below this share of the stated one's."""
MIN_SHARE_IN_FRONT = 0.9
MIN_POINTS = 6
MIN_PARALLAX_DEG = 3.0
"""Least angle between views: cameras on one side of the head can't be triangulated."""
SAME_POSE = 1e-6
"""Largest difference between matrix elements of one and the same camera."""
NEARLY_AS_GOOD = 1.5
"""Ratio of errors below which the landmarks alone can't separate two conventions."""
NOISE_SHARE = 0.01
"""An error below this share of the spread counts as none, whatever the errors of other conventions."""
HOLLOW_PENALTY = 4.0
"""Factor on the error of a convention under which the face is inside out: seen from afar, a mirrored picture turned by
some angle is nearly the picture of a hollow face turned by the opposite one."""
MAX_TURN_DEG = 30.0
"""A larger turn of the head in the world means other world axes."""
MAX_SCALE = 1.5
"""Largest plausible ratio of a head's size to the mean head's."""

IBUG_MIRROR = (
    *range(16, -1, -1), *range(26, 16, -1), 27, 28, 29, 30, 35, 34, 33, 32, 31, 45, 44, 43, 42, 47, 46, 39, 38, 37, 36,
    41, 40, 54, 53, 52, 51, 50, 49, 48, 59, 58, 57, 56, 55, 64, 63, 62, 61, 60, 67, 66, 65,
)  # fmt: skip
"""The landmark that a detector reports for each of the 68 in the mirrored picture."""

_AXES = {
    (1, 1, 1): "",
    (1, -1, -1): "opengl_axes",
    (-1, 1, 1): "mirrored",
    (1, -1, 1): "upside_down",
    (-1, -1, 1): "turned_half",
    (1, 1, -1): "z_flipped",
    (-1, 1, -1): "x_and_z_flipped",
    (-1, -1, -1): "all_flipped",
}
"""Names of the camera axes' signs, the most likely first."""


@dataclass(frozen=True)
class Convention:
    """A camera convention: how headforge's cameras follow from the stated ones."""

    name: str
    is_inverted: bool
    """The stated matrix is camera to world."""
    axes: tuple[int, int, int]
    """Signs of the camera's axes."""
    world_axes: tuple[int, int, int]
    """Signs of the world's axes; of an inverted matrix, those that its camera's axes leave."""
    intrinsics: str
    """"pixels", "normalized" (divided by width and height) or "resized" (of a picture of another size)."""

    @property
    def mirrors(self) -> bool:
        """Whether no rigid camera corrects it: the pictures or the handedness of the axes have to change."""
        return math.prod(self.axes) < 0

    @property
    def n_changes(self) -> int:
        """Number of differences from the stated convention."""
        plain = (1, 1, 1)
        return sum((self.is_inverted, self.axes != plain, self.world_axes != plain, self.intrinsics != "pixels"))

    @property
    def is_turned_only(self) -> bool:
        """Whether the world's axes are the only difference."""
        return self.n_changes == 1 and self.world_axes != (1, 1, 1)

    @property
    def fix(self) -> str:
        """The correction, in one sentence."""
        return _fix(self)

    def apply(self, camera: Camera) -> Camera:
        """Return headforge's cameras for cameras stated in this convention; viewmat may be a reflection."""
        viewmat = torch.linalg.inv(camera.viewmat) if self.is_inverted else camera.viewmat
        signs, world = (torch.diag(viewmat.new_tensor([*axes, 1])) for axes in (self.axes, self.world_axes))
        return replace(camera, K=_pixels(camera, self.intrinsics), viewmat=signs @ viewmat @ world)


def _fix(convention: Convention) -> str:
    if convention.name == FINE:
        return "nothing: the cameras are in headforge's convention."
    steps = []
    if convention.is_inverted:
        steps.append("invert each matrix (it is camera to world, or was inverted once too often)")
    if convention.world_axes != (1, 1, 1):
        steps.append("turn the world by 180 degrees about x (negate the matrix's second and third columns)")
    if convention.axes == (1, -1, -1):
        steps.append("negate the camera's y and z axes (they are OpenGL's: y up, z backwards)")
    elif convention.axes == (-1, 1, 1):
        steps.append("mirror the pictures left to right, or negate the camera's x axis if the matrices are reflections")
    elif convention.axes == (1, -1, 1):
        steps.append("flip the pictures top to bottom, or negate the camera's y axis (rows may be counted upwards)")
    elif convention.axes != (1, 1, 1):
        names = [name for name, sign in zip("xyz", convention.axes, strict=True) if sign < 0]
        steps.append(f"negate the camera's {', '.join(names)} axes")
    if convention.intrinsics == "normalized":
        steps.append("multiply the intrinsics' rows by the picture's width and height")
    elif convention.intrinsics == "resized":
        steps.append("scale the intrinsics to the pictures' size (the principal point is that of another one)")
    return "; ".join(steps) + "."


def _pixels(camera: Camera, intrinsics: str) -> Tensor:
    if intrinsics == "pixels":
        return camera.K
    size = camera.K.new_tensor([camera.width, camera.height, 1.0])
    if intrinsics == "normalized":
        return camera.K * size[:, None]
    factor = size[:2] / (2 * camera.K[..., :2, 2]).clamp_min(1e-6)
    return camera.K * torch.cat([factor, torch.ones_like(factor[..., :1])], -1)[..., None]


def conventions() -> Iterator[Convention]:
    """Yield all conventions that are tried, the stated one first."""
    plain, flipped = (1, 1, 1), (1, -1, -1)
    matrices = itertools.product((False, True), _AXES, (plain, flipped))
    for intrinsics, (is_inverted, axes, world_axes) in itertools.product(
        ("pixels", "normalized", "resized"), list(matrices)
    ):
        parts = [
            "inverted" if is_inverted else "",
            "world_flipped" if world_axes != plain else "",
            _AXES[axes],
            "" if intrinsics == "pixels" else f"{intrinsics}_intrinsics",
        ]
        yield Convention("_".join(filter(None, parts)) or FINE, is_inverted, axes, world_axes, intrinsics)


CONVENTIONS = {convention.name: convention for convention in conventions()}
"""Conventions by name; `headforge import --cameras NAME` applies one."""


@dataclass(frozen=True)
class WorldFit:
    """Alignment of the cameras' world with headforge's, from the triangulated head and the mean head."""

    rotation: Tensor
    """[3, 3], from headforge's world to the cameras'."""
    scale: float
    """Units of the cameras' world per metre."""
    is_mirrored: bool
    """The world is left-handed, or left and right of the landmarks are exchanged."""
    residual_share: float
    """Root mean square distance after the alignment, as a share of the head's size."""

    @property
    def turn_deg(self) -> float:
        """Angle of the rotation in degrees."""
        return math.degrees(math.acos(max(-1.0, min(1.0, (float(self.rotation.trace()) - 1) / 2))))

    @property
    def warning(self) -> str:
        """Differences from headforge's world; empty if there are none."""
        found = []
        if self.is_mirrored:
            found.append("left and right are exchanged")
        if self.turn_deg > MAX_TURN_DEG:
            up, front = (_axis_name(self.rotation[:, axis]) for axis in (1, 2))
            found.append(f"the head's up is the world's {up} and its front {front} (headforge: +y and +z)")
        if not 1 / MAX_SCALE < self.scale < MAX_SCALE:
            found.append(f"a metre is {self.scale:.3g} units long")
        return "; ".join(found)


def _axis_name(direction: Tensor) -> str:
    axis = int(direction.abs().argmax())
    return f"{'-' if float(direction[axis]) < 0 else '+'}{'xyz'[axis]}"


@dataclass(frozen=True)
class ConventionCheck:
    """Result of `check_camera_convention`."""

    verdict: str
    """`FINE`, another name of `CONVENTIONS`, or `UNCLEAR`."""
    errors: dict[str, float]
    """Median reprojection error by convention in pixels, infinite where the points lie behind the cameras."""
    spread_px: float
    """Root mean square distance of a picture's landmarks from their middle: the scale of the errors."""
    points: Tensor | None
    """[L, 3] triangulated under the verdict, float64; None if the points were given or the verdict is unclear."""
    world: WorldFit | None
    """Alignment of the world; None if the head was not triangulated or no mean head was given."""

    @property
    def is_fine(self) -> bool:
        """Whether the cameras are in headforge's convention."""
        return self.verdict == FINE

    @property
    def message(self) -> str:
        """The verdict in one or two sentences."""
        stated = self.errors[FINE]
        said = "behind the cameras" if math.isinf(stated) else f"{stated:.1f} px off"
        if self.verdict == UNCLEAR:
            return f"no convention explains the landmarks: as stated they are {said}. Look at the pictures and poses."
        if self.verdict == FINE:
            return f"the cameras agree with the landmarks ({said})."
        better = self.errors[self.verdict]
        return (
            f"the cameras are in another convention, {self.verdict}: as stated the landmarks are {said}, so "
            f"{better:.1f} px. {CONVENTIONS[self.verdict].fix}"
        )


def check_camera_convention(
    camera: Camera,
    pixels: Tensor,
    visible: Tensor | None = None,
    *,
    points: Tensor | None = None,
    mean_head: Tensor | None = None,
) -> ConventionCheck:
    """Find the convention of cameras [V] from landmarks `pixels` [V, L, 2], seen where `visible` [V, L].

    `points` [L, 3] or [V, L, 3] are the landmarks in the world, if known (a mean head's are accurate enough); they are
    projected. Otherwise the landmarks are triangulated, which needs two pictures of one person from different sides; a
    small motion of the face between them is harmless. `mean_head` [L, 3], metres in headforge's world, then gives the
    alignment of the cameras' world and separates mirrored and turned pictures from a hollow face, which look alike from
    afar. Left and right must be named by appearance, as detectors do.

    Raises ShapeError, InputError if there are too few landmarks or views from too few sides.
    """
    pixels = pixels.double()
    if pixels.dim() != 3 or pixels.shape[-1] != 2 or camera.viewmat.shape[:-2] != pixels.shape[:1]:
        raise ShapeError("pixels", "[V, L, 2] with V cameras", tuple(pixels.shape))
    seen = torch.isfinite(pixels).all(-1)
    seen = seen if visible is None else seen & visible.bool()
    seen = seen & (seen.sum(-1, keepdim=True) >= MIN_POINTS)
    given = Camera(camera.K.double(), camera.viewmat.double(), camera.width, camera.height)
    if points is None:
        _require_several_views(seen)
        _require_several_cameras(given)
        seen = seen & (seen.sum(0) >= 2)
    if not bool(seen.any()):
        raise InputError("landmarks", f"no picture shows {MIN_POINTS} landmarks.", "give pictures that show a face.")
    pixels = torch.where(seen[..., None], pixels, 0.0)
    known = None if points is None else points.double().expand(len(pixels), -1, -1)
    head = None if mean_head is None or points is not None else mean_head.double()
    tried = {name: _try(c.apply(given), pixels, seen, known, head) for name, c in CONVENTIONS.items()}
    spread = _spread_px(pixels, seen)
    verdict = _verdict(tried, spread)
    errors = {name: trial.error_px for name, trial in tried.items()}
    if known is not None or verdict == UNCLEAR:
        return ConventionCheck(verdict, errors, spread, None, None)
    right = CONVENTIONS[verdict].apply(given)
    found = triangulate(right, pixels, seen)
    _require_parallax(right, found)
    return ConventionCheck(verdict, errors, spread, found, tried[verdict].world)


@dataclass(frozen=True)
class _Trial:
    """Fit of one convention to the landmarks."""

    error_px: float
    """Median, with `HOLLOW_PENALTY`; infinite if the points lie behind the cameras or nothing can be computed."""
    world: WorldFit | None = None

    @property
    def is_turned(self) -> bool:
        return self.world is not None and self.world.turn_deg > MAX_TURN_DEG


def _require_several_views(seen: Tensor) -> None:
    n = int(seen.any(-1).sum())
    if n < 2:
        raise InputError("landmarks", f"{n} pictures show {MIN_POINTS} landmarks; triangulation needs two.",
                         "give more pictures of the person, or the landmarks' points in the world.")  # fmt: skip


def _require_several_cameras(camera: Camera) -> None:
    if float((camera.viewmat - camera.viewmat[:1]).abs().max()) < SAME_POSE:
        raise InputError("landmarks", "all pictures have the same fixed camera: only the head moves.",
                         "give the landmarks' points in the world, from the head parameters.")  # fmt: skip


def _require_parallax(camera: Camera, points: Tensor) -> None:
    rays = torch.nn.functional.normalize(points.mean(0) - camera.centre, dim=-1)
    angle = math.degrees(float(torch.arccos((rays @ rays[0]).clamp(-1, 1)).max()))
    if angle < MIN_PARALLAX_DEG:
        raise InputError("landmarks", f"the pictures are all from one side: {angle:.1f} degrees between them, at least "
                         f"{MIN_PARALLAX_DEG:.0f} needed.", "give pictures from several sides.")  # fmt: skip


def _spread_px(pixels: Tensor, seen: Tensor) -> float:
    weights = seen.double()[..., None]
    middle = (pixels * weights).sum(1, keepdim=True) / weights.sum(1, keepdim=True).clamp_min(1)
    square = ((pixels - middle).square() * weights).sum() / weights.sum()
    return float(square.sqrt())


def _verdict(tried: dict[str, _Trial], spread_px: float) -> str:
    """Return the stated convention if it explains the landmarks, else the best one if that is clearly better.

    Of conventions with similar errors, one with an upright head is preferred, then the simplest.
    """
    errors = {name: trial.error_px for name, trial in tried.items()}
    best, limit, noise = min(errors.values()), MAX_ERROR * spread_px, NOISE_SHARE * spread_px
    near = [name for name in tried if errors[name] <= max(NEARLY_AS_GOOD * best, noise)]
    upright = [name for name in near if not tried[name].is_turned]
    stated = errors[FINE]
    if stated <= limit and (stated <= noise or best >= CLEARLY_BETTER * stated):
        if not tried[FINE].is_turned or not upright:
            return FINE
    elif best > limit or best > CLEARLY_BETTER * stated:
        return UNCLEAR
    simplest = min(CONVENTIONS[name].n_changes for name in upright or near)
    chosen = [name for name in upright or near if CONVENTIONS[name].n_changes == simplest]
    lowest = min(errors[name] for name in chosen)
    # Conventions may differ by rounding only, such as those of centred intrinsics: the likelier is tried first.
    return next(name for name in chosen if errors[name] <= lowest * 1.05 + 1e-6 * spread_px)


def _try(camera: Camera, pixels: Tensor, seen: Tensor, points: Tensor | None, mean_head: Tensor | None) -> _Trial:
    nothing = _Trial(math.inf)
    if not bool(torch.isfinite(camera.viewmat).all()) or float(camera.K[:, 0, 0].abs().min()) < 1e-9:
        return nothing
    factor, world = 1.0, None
    if points is None:
        found = triangulate(camera, pixels, seen)
        if not bool(torch.isfinite(found).all()):
            return nothing
        if mean_head is not None:
            world = _fit_world(found, mean_head, seen)
            # Cameras that reflect mean mirrored pictures, in which left and right landmarks are exchanged.
            is_reflection = float(torch.linalg.det(camera.viewmat[0, :3, :3])) < 0
            factor = HOLLOW_PENALTY if world.is_mirrored != is_reflection else 1.0
            world = replace(world, is_mirrored=world.is_mirrored != is_reflection)
        points = found.expand(len(pixels), -1, -1)
    depth = transform_points(camera.viewmat, points)[..., 2]
    if float((depth[seen] > 0).double().mean()) < MIN_SHARE_IN_FRONT:
        return nothing
    projected, _ = project(camera, points)
    error = factor * float((projected - pixels).norm(dim=-1)[seen].median())
    return _Trial(error, world) if math.isfinite(error) else nothing


def triangulate(camera: Camera, pixels: Tensor, seen: Tensor) -> Tensor:
    """Return the points [L, 3] nearest in least squares to the rays of `pixels` [V, L, 2] that are `seen` [V, L].

    `viewmat` may hold a reflection. A point seen by fewer than two cameras is anywhere on its ray.
    """
    homogeneous = torch.cat([pixels, torch.ones_like(pixels[..., :1])], -1)
    local = torch.linalg.solve(camera.K, homogeneous.transpose(-1, -2)).transpose(-1, -2)
    world = torch.nn.functional.normalize(local @ camera.viewmat[..., :3, :3], dim=-1)
    identity = torch.eye(3, dtype=pixels.dtype, device=pixels.device)
    across = (identity - world[..., None] * world[..., None, :]) * seen.to(pixels.dtype)[..., None, None]
    matrix = across.sum(0)
    right = (across @ camera.centre[:, None, :, None]).sum(0)
    ridge = 1e-12 * matrix.diagonal(dim1=-2, dim2=-1).sum(-1).clamp_min(1)
    return torch.linalg.solve(matrix + ridge[:, None, None] * identity, right)[..., 0]


def _fit_world(points: Tensor, mean_head: Tensor, seen: Tensor) -> WorldFit:
    used = seen.any(0)
    source, target = mean_head[used], points[used]
    fits = []
    for is_mirrored in (False, True):
        turned = source * source.new_tensor([-1.0, 1.0, 1.0]) if is_mirrored else source
        scale, rotation, translation = similarity_alignment(turned, target)
        residual = (scale * turned @ rotation.T + translation - target).square().sum(-1).mean().sqrt()
        size = (target - target.mean(0)).square().sum(-1).mean().sqrt()
        fits.append(WorldFit(rotation, float(scale), is_mirrored, float(residual / size)))
    plain, mirrored = fits
    return mirrored if mirrored.residual_share < CLEARLY_BETTER * plain.residual_share else plain


def mirrored_landmarks(pixels: Tensor, width: int) -> Tensor:
    """Return the 68 landmarks [*, 68, 2] as a detector finds them in the picture mirrored left to right."""
    mirrored = pixels[..., torch.tensor(IBUG_MIRROR, device=pixels.device), :].clone()
    mirrored[..., 0] = width - mirrored[..., 0]
    return mirrored
