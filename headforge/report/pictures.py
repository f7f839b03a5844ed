"""Pictures of the stages' results: errors, overlays of the fitted head, renders of avatars."""

from __future__ import annotations

import math

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import Tensor

from headforge.flame.model import HeadModel, landmarks, pose_head
from headforge.geometry.cameras import project
from headforge.geometry.meshes import vertex_normals
from headforge.render.mesh import interpolate, rasterize
from headforge.store.images import area_resize
from headforge.types import Camera, HeadParams

ERROR_GAIN = 4.0
"""Gain of an error before it is coloured."""
ERROR_COLOURS = ((255, 255, 255), (250, 196, 132), (214, 84, 60), (96, 20, 80), (24, 8, 40))
"""From zero error to full range."""
MESH_RGB = (0.62, 0.72, 0.80)
EXACT_RGB = (255, 255, 255)
TRACKED_RGB = (232, 93, 47)
SUPERSAMPLING = 2
"""Dots are drawn at this multiple and averaged down."""


def psnr_db(image: np.ndarray, truth: np.ndarray) -> float:
    """Return the peak signal-to-noise ratio of two [H, W, 3] uint8 pictures; infinite if they are equal."""
    mse = float(np.mean((image.astype(np.float64) - truth) ** 2)) / 255**2
    return -10 * math.log10(mse) if mse > 0 else math.inf


def error_map(image: np.ndarray, truth: np.ndarray, gain: float = ERROR_GAIN) -> np.ndarray:
    """Return the channels' mean absolute difference times `gain` as colours [H, W, 3] uint8, dark for large errors."""
    difference = np.abs(image.astype(np.float32) - truth).mean(-1) / 255 * gain
    stops = np.linspace(0, 1, len(ERROR_COLOURS))
    channels = [np.interp(difference, stops, [colour[c] for colour in ERROR_COLOURS]) for c in range(3)]
    return np.stack(channels, -1).round().astype(np.uint8)


def enlarge(image: np.ndarray, size: int) -> np.ndarray:
    """Return `image` [H, W, 3] uint8 with its longer side made `size` pixels (bicubic); never smaller than it was."""
    scale = size / max(image.shape[:2])
    if scale <= 1:
        return image
    shape = (round(image.shape[1] * scale), round(image.shape[0] * scale))
    return np.asarray(Image.fromarray(image).resize(shape, Image.Resampling.BICUBIC))


def shrink(image: np.ndarray, size: int) -> np.ndarray:
    """Return `image` [H, W, 3] uint8 with its longer side averaged down to `size` pixels; never larger than it was."""
    scale = size / max(image.shape[:2])
    return image if scale >= 1 else area_resize(image, (round(image.shape[0] * scale), round(image.shape[1] * scale)))


def over_checkerboard(image: np.ndarray, mask: np.ndarray, cell: int = 16) -> np.ndarray:
    """Return the foreground of `image` [H, W, 3] by `mask` [H, W] uint8 over grey squares."""
    rows, columns = np.indices(mask.shape) // cell
    board = np.where((rows + columns) % 2, 214, 238)[..., None].astype(np.float32)
    alpha = mask[..., None].astype(np.float32) / 255
    return (image * alpha + board * (1 - alpha)).round().astype(np.uint8)


def feature_colours(features: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """Return premultiplied feature maps [N, H, W, C] with coverage [N, H, W] as colours [N, H, W, 3] uint8 on white.

    The colours are the features' three strongest principal components, one projection for all N.
    """
    covered = alpha > 0.5
    if covered.sum() <= features.shape[-1]:
        return np.full((*features.shape[:-1], 3), 255, np.uint8)
    values = features.astype(np.float64) / np.maximum(alpha, 1e-3)[..., None]
    mean = values[covered].mean(0)
    _, axes = np.linalg.eigh(np.cov((values[covered] - mean).T))
    axes = axes[:, ::-1][:, :3]
    # An eigenvector's sign is arbitrary; its largest entry is made positive.
    axes = axes * np.sign(axes[np.abs(axes).argmax(0), np.arange(axes.shape[1])])
    projected = (values - mean) @ axes
    low, high = np.quantile(projected[covered], (0.02, 0.98), axis=0)
    shown = 0.08 + 0.84 * np.clip((projected - low) / np.maximum(high - low, 1e-9), 0, 1)
    colours = shown * alpha[..., None] + 1 - alpha[..., None]
    return (np.clip(colours, 0, 1) * 255).round().astype(np.uint8)


def mesh_overlay(
    image: np.ndarray, head: HeadModel, params: HeadParams, camera: Camera, strength: float = 0.75
) -> np.ndarray:
    """Render the shaded mesh of unbatched `params` over `image` [H, W, 3] uint8; `camera` may have any size."""
    height, width = image.shape[:2]
    fine = _batched(camera.resized(SUPERSAMPLING * width, SUPERSAMPLING * height))
    vertices = pose_head(head, _batched_params(params))
    normals = vertex_normals(vertices, head.faces) @ fine.viewmat[:, :3, :3].transpose(-1, -2)
    fragments = rasterize(vertices, head.faces, fine)
    facing = interpolate(fragments, normals[0][head.faces])[0]
    light = torch.tensor([-0.35, -0.5, -0.79])
    shade = 0.35 + 0.65 * (facing @ light).clamp_min(0)
    alpha = fragments.mask[0].float() * strength
    layer = torch.cat([shade[..., None] * torch.tensor(MESH_RGB) * alpha[..., None], alpha[..., None]], dim=-1)
    layer = layer.unflatten(0, (height, SUPERSAMPLING)).unflatten(2, (width, SUPERSAMPLING)).mean((1, 3)).numpy()
    blended = image / 255 * (1 - layer[..., 3:]) + layer[..., :3]
    return (np.clip(blended, 0, 1) * 255).round().astype(np.uint8)


def dots_overlay(image: np.ndarray, layers: list[tuple[np.ndarray, tuple[int, int, int]]]) -> np.ndarray:
    """Draw dots at pixels [N, 2] over `image` [H, W, 3] uint8, one colour per layer, the last on top."""
    height, width = image.shape[:2]
    fine = Image.fromarray(image).resize((SUPERSAMPLING * width, SUPERSAMPLING * height), Image.Resampling.BICUBIC)
    draw = ImageDraw.Draw(fine)
    radius = max(1.0, 0.0065 * width) * SUPERSAMPLING
    for points, colour in layers:
        for x, y in points.tolist():
            cx, cy = x * SUPERSAMPLING, y * SUPERSAMPLING
            outline = (40, 40, 40) if sum(colour) > 600 else colour
            draw.ellipse((cx - radius, cy - radius, cx + radius, cy + radius), fill=colour, outline=outline)
    return np.asarray(fine.resize((width, height), Image.Resampling.BOX))


def projected_landmarks(head: HeadModel, params: HeadParams, camera: Camera, width: int, height: int) -> np.ndarray:
    """Return the 68 landmarks of unbatched `params` in pixels of a picture of the given size, [68, 2]."""
    points = landmarks(head, pose_head(head, _batched_params(params)))
    return project(_batched(camera.resized(width, height)), points)[0][0].numpy()


def vertex_shift_px(
    head: HeadModel, a: tuple[HeadParams, Camera], b: tuple[HeadParams, Camera], vertex_ids: Tensor
) -> float:
    """Return the mean distance in pixels between the vertices of two (params, camera) pairs of one picture."""
    seen = [
        project(_batched(camera), pose_head(head, _batched_params(params))[:, vertex_ids])[0]
        for params, camera in (a, b)
    ]
    return float((seen[0] - seen[1]).norm(dim=-1).mean())


def _batched(camera: Camera) -> Camera:
    return Camera(camera.K[None], camera.viewmat[None], camera.width, camera.height)


def _batched_params(params: HeadParams) -> HeadParams:
    return HeadParams(params.model_id, **{name: value[None] for name, value in params.tensors().items()})
