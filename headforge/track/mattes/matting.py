"""A head's matte from the fitted mesh and colour statistics; no network.

The projected mesh marks definite head pixels and the region where hair is possible. Two Gaussian mixtures over colour
and position model head and background; their posterior is smoothed along image edges by a random-walker-like linear
system, and mixtures and matte are estimated alternately.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage
from skimage.color import rgb2lab

N_ROUNDS = 4
MIXTURE_STRIDE = 5
"""Mixtures are estimated from every fifth pixel."""
N_HEAD_COLOURS = 6
N_BACKGROUND_COLOURS = 8
POSITION_SCALE = 40.0
"""The image side in units of Lab lightness: the weight of position relative to colour."""
EDGE_STRENGTH = 60.0
"""Smoothness weight between neighbours of equal colour, relative to a data weight of 1."""


@dataclass(frozen=True)
class MattePrior:
    """Prior from the fitted mesh, all [H, W]."""

    surely_head: np.ndarray
    """bool."""
    surely_background: np.ndarray
    """bool."""
    head_probability: np.ndarray
    """Head probability before colour evidence."""


@dataclass(frozen=True)
class Mixture:
    """A Gaussian mixture of K components in D dimensions."""

    weights: np.ndarray
    """[K]."""
    means: np.ndarray
    """[K, D]."""
    covariances: np.ndarray
    """[K, D, D]."""

    def log_density(self, points: np.ndarray) -> np.ndarray:
        """Return the log density [N] at points [N, D]."""
        return np.logaddexp.reduce(self.log_parts(points), axis=1)

    def log_parts(self, points: np.ndarray) -> np.ndarray:
        """Return the log of weight times density of each component, [N, K]."""
        parts = []
        for weight, mean, covariance in zip(self.weights, self.means, self.covariances, strict=True):
            lower = np.linalg.cholesky(covariance)
            white = np.linalg.solve(lower, (points - mean).T)
            log_det = 2 * np.log(np.diag(lower)).sum()
            parts.append(np.log(weight) - 0.5 * ((white**2).sum(0) + log_det + len(mean) * np.log(2 * np.pi)))
        return np.stack(parts, axis=1)


def fit_mixture(points: np.ndarray, weights: np.ndarray, n_components: int, n_iterations: int = 8) -> Mixture:
    """Fit a mixture to weighted points [N, D] by expectation maximisation; deterministic farthest-point start."""
    n_dims = points.shape[1]
    chosen = [int(np.argmax(weights * -np.linalg.norm(points - np.average(points, axis=0, weights=weights), axis=1)))]
    distance = np.full(len(points), np.inf)
    for _ in range(n_components - 1):
        distance = np.minimum(distance, np.linalg.norm(points - points[chosen[-1]], axis=1))
        chosen.append(int(np.argmax(weights * distance)))
    means = points[chosen]
    spread = np.eye(n_dims) * 100.0
    mixture = Mixture(np.full(n_components, 1 / n_components), means, np.repeat(spread[None], n_components, axis=0))
    for _ in range(n_iterations):
        log_parts = mixture.log_parts(points)
        share = np.exp(log_parts - np.logaddexp.reduce(log_parts, axis=1, keepdims=True)) * weights[:, None]
        mass = share.sum(0) + 1e-6
        means = (share.T @ points) / mass[:, None]
        covariances = np.stack(
            [((points - m) * s[:, None]).T @ (points - m) / w for m, s, w in zip(means, share.T, mass, strict=True)]
        )
        mixture = Mixture(mass / mass.sum(), means, covariances + 4.0 * np.eye(n_dims))
    return mixture


def matte(image: np.ndarray, prior: MattePrior) -> np.ndarray:
    """Return the foreground coverage [H, W] float in [0, 1] of an RGB image [H, W, 3] uint8."""
    height, width = image.shape[:2]
    step = max(1, round(max(height, width) / 256))
    small = image[: height // step * step, : width // step * step]
    small = small.reshape(height // step, step, width // step, step, 3).mean((1, 3))
    lab = rgb2lab(small / 255.0)
    shrunk = MattePrior(*(_block_mean(np.asarray(m, float), step) for m in (
        prior.surely_head, prior.surely_background, prior.head_probability)))  # fmt: skip
    alpha = _alternate(lab, shrunk)
    alpha = _main_component(alpha)
    full = np.asarray(ndimage.zoom(alpha, step, order=1, grid_mode=True, mode="nearest")) if step > 1 else alpha
    full = np.pad(full, ((0, height - full.shape[0]), (0, width - full.shape[1])), mode="edge")
    guide = rgb2lab(image / 255.0)
    refined = _guided_filter(guide / 100.0, full, radius=max(3, 2 * step))
    refined = np.where(prior.surely_background, 0.0, np.where(prior.surely_head, 1.0, refined))
    return np.clip((refined - 0.08) / 0.84, 0.0, 1.0)


def _block_mean(values: np.ndarray, step: int) -> np.ndarray:
    height, width = (side // step * step for side in values.shape)
    return values[:height, :width].reshape(height // step, step, width // step, step).mean((1, 3))


def _alternate(lab: np.ndarray, prior: MattePrior) -> np.ndarray:
    height, width = lab.shape[:2]
    y, x = np.mgrid[:height, :width] / max(height, width)
    features = np.concatenate([lab, POSITION_SCALE * np.stack([x, y], axis=-1)], axis=-1).reshape(-1, 5)
    head, background = prior.surely_head > 0.99, prior.surely_background > 0.99
    weights_xy = _edge_weights(lab)
    alpha = np.where(head, 1.0, np.where(background, 0.0, prior.head_probability))
    for _ in range(N_ROUNDS):
        confident = np.clip(2 * np.abs(alpha - 0.5), 0, 1)
        some = slice(None, None, MIXTURE_STRIDE)
        head_weights, background_weights = (alpha * confident).ravel()[some], ((1 - alpha) * confident).ravel()[some]
        head_model = fit_mixture(features[some], head_weights + 1e-6, N_HEAD_COLOURS)
        background_model = fit_mixture(features[some], background_weights + 1e-6, N_BACKGROUND_COLOURS)
        log_odds = head_model.log_density(features) - background_model.log_density(features)
        log_odds = np.clip(log_odds.reshape(height, width), -6, 6)
        guess = prior.head_probability.clip(0.005, 0.995)
        posterior = 1 / (1 + np.exp(-(log_odds + np.log(guess / (1 - guess)))))
        target = np.where(head, 1.0, np.where(background, 0.0, posterior))
        certainty = np.where(head | background, 1e3, 0.1 + np.abs(2 * posterior - 1))
        alpha = _smooth_along_edges(target, certainty, weights_xy, alpha)
    return alpha


def _edge_weights(lab: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return smoothness weights to the right and lower neighbours, low across colour edges (Boykov, Jolly 2001)."""
    right = ((lab[:, 1:] - lab[:, :-1]) ** 2).sum(-1)
    below = ((lab[1:] - lab[:-1]) ** 2).sum(-1)
    typical = 2 * np.mean(np.concatenate([right.ravel(), below.ravel()])) + 1e-6
    return EDGE_STRENGTH * np.exp(-right / typical) + 0.01, EDGE_STRENGTH * np.exp(-below / typical) + 0.01


def _smooth_along_edges(
    target: np.ndarray, certainty: np.ndarray, weights: tuple[np.ndarray, np.ndarray], start: np.ndarray
) -> np.ndarray:
    """Minimise certainty (a - target)^2 + sum over neighbours w (a - a')^2 by conjugate gradients."""
    right, below = weights

    def apply(a: np.ndarray) -> np.ndarray:
        out = certainty * a
        flow = right * (a[:, 1:] - a[:, :-1])
        out[:, 1:] += flow
        out[:, :-1] -= flow
        flow = below * (a[1:] - a[:-1])
        out[1:] += flow
        out[:-1] -= flow
        return out

    diagonal = certainty.copy()
    diagonal[:, 1:] += right
    diagonal[:, :-1] += right
    diagonal[1:] += below
    diagonal[:-1] += below
    solution = start.copy()
    residual = certainty * target - apply(solution)
    direction = residual / diagonal
    energy = float((residual * direction).sum())
    for _ in range(120):
        product = apply(direction)
        length = energy / max(float((direction * product).sum()), 1e-30)
        solution += length * direction
        residual -= length * product
        if float(np.abs(residual / diagonal).max()) < 1e-3:
            break
        scaled = residual / diagonal
        new_energy = float((residual * scaled).sum())
        direction = scaled + new_energy / energy * direction
        energy = new_energy
    return solution.clip(0, 1)


def _main_component(alpha: np.ndarray) -> np.ndarray:
    """Keep the largest connected component and fill its interior holes."""
    labels = np.zeros(alpha.shape, dtype=np.int32)
    if ndimage.label(alpha > 0.5, output=labels) == 0:
        return alpha
    largest = labels == 1 + np.argmax(np.bincount(labels.ravel())[1:])
    near = np.asarray(ndimage.binary_dilation(largest, iterations=3))
    filled = np.asarray(ndimage.binary_fill_holes(largest))
    return np.where(filled, np.maximum(alpha, np.where(largest, alpha, 0.9)), np.where(near, alpha, 0.0))


def _guided_filter(guide: np.ndarray, values: np.ndarray, radius: int, epsilon: float = 1e-4) -> np.ndarray:
    """Return the local linear fit of `values` [H, W] to the colours of `guide` [H, W, 3] (He et al. 2010)."""

    def mean(a: np.ndarray) -> np.ndarray:
        return ndimage.uniform_filter(a, size=2 * radius + 1, axes=(0, 1))

    mean_guide, mean_values = mean(guide), mean(values)
    cross = mean(guide * values[..., None]) - mean_guide * mean_values[..., None]
    products = mean(guide[..., :, None] * guide[..., None, :])
    covariance = products - mean_guide[..., :, None] * mean_guide[..., None, :] + epsilon * np.eye(3)
    slope = np.linalg.solve(covariance, cross[..., None])[..., 0]
    offset = mean_values - (slope * mean_guide).sum(-1)
    return (mean(slope) * guide).sum(-1) + mean(offset)
