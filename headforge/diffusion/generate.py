"""Sampling from a trained model: held-out identities for scoring, and many views of the person in a photo."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, max_pool2d

from headforge.devices import resolve_device
from headforge.diffusion.bank import ViewBank, load_bank, read_tracks_of, torch_threads
from headforge.diffusion.config import DOMAINS, GenerateConfig
from headforge.diffusion.model_files import TrainedModel, load_model
from headforge.diffusion.sample import ddim, initial_noise
from headforge.diffusion.targets import Target, heldout_targets
from headforge.errors import DataError, ModelMismatchError, ShapeError
from headforge.flame.model import pose_head
from headforge.geometry.cameras import orbit_camera
from headforge.progress import SILENT, Progress
from headforge.store.dataset.shards import Dataset, write_shard
from headforge.store.dataset.tables import write_predictions
from headforge.store.images import area_resize, decode_image
from headforge.types import Camera, HeadParams, Prediction, Sample

VERSION = 1
FOREGROUND_ALPHA = 0.5
BACKGROUND_DISTANCE = 20
"""Levels of 255 by which a pixel's neighbourhood must differ from white to count as foreground beyond the head mesh."""


@torch.no_grad()
def generate_heldout(
    config: GenerateConfig,
    model: Path,
    dataset: Path,
    tracked: Path | None,
    output: Path,
    progress: Progress = SILENT,
    *,
    device: str = "cpu",
) -> None:
    """Sample held-out identities from their reference view and write predictions to the Parquet file `output`.

    Methods: "control_tracked" with the tracks' parameters and cameras, "control_exact" with the dataset's own. Both
    cover the same views: those that tracking accepted. Pictures have the model's `image_size`. A picture depends on the
    rest of its batch only up to rounding of matrix products (at most 1 level of 255). Its noise does not depend on
    `device`.
    """
    place = resolve_device(device)
    trained, data = load_model(model, place), Dataset(dataset)
    size = trained.network.config.image_size
    tracks = read_tracks_of(tracked)
    subjects = data.subject_ids("test")[: config.n_identities]
    banks = {} if tracks is None else {"control_tracked": load_bank(data, subjects, tracks, size)}
    exact = load_bank(data, subjects, None, size)
    targets = heldout_targets(banks.get("control_tracked", exact), config.n_reference_views, config.n_targets)
    if config.with_exact or tracks is None:
        banks["control_exact"] = exact
    progress.start(len(banks) * len(targets), "image")
    predictions: list[Prediction] = []
    with torch_threads(config.n_threads):
        for method, bank in banks.items():
            predictions += sample_targets(config, trained, bank.to(place), targets, method, progress)
    predictions.sort(key=lambda p: (p.subject_id, p.view, p.method))
    write_predictions(output, predictions)


def sample_targets(
    config: GenerateConfig, trained: TrainedModel, bank: ViewBank, targets: Sequence[Target], method: str,
    progress: Progress = SILENT, with_reference: bool = True,
) -> list[Prediction]:  # fmt: skip
    """Return one prediction per target, sampled `batch_references` references at a time.

    The bank is on the model's device.
    """
    rows = bank.rows
    grouped: dict[tuple[str, int], list[Target]] = {}
    for target in targets:
        grouped.setdefault((target.subject_id, target.reference_view), []).append(target)
    found: list[Prediction] = []
    for chunk in batched_by_length(list(grouped.items()), config.batch_references):
        references = torch.tensor([rows[key] for key, _ in chunk], device="cpu")
        wanted = [target for _, members in chunk for target in members]
        places = torch.tensor([rows[t.subject_id, t.view] for t in wanted], device="cpu")
        images, _ = sample_images(
            trained, bank.pictures(references), bank.params[references], bank.camera[references],
            bank.params[places], bank.camera[places], bank.domains[references],
            [(t.subject_id, t.view) for t in wanted], config.seed, config.n_ddim_steps, with_reference,
        )  # fmt: skip
        for target, image in zip(wanted, to_uint8(images), strict=True):
            found.append(Prediction(target.subject_id, target.view, method, target.reference_view, image))
        progress.item_done(f"{method} {wanted[-1].subject_id}", len(wanted))
    return found


def batched_by_length(
    groups: Sequence[tuple[tuple[str, int], list[Target]]], size: int
) -> list[Sequence[tuple[tuple[str, int], list[Target]]]]:
    """Return runs of at most `size` consecutive groups with equal target counts."""
    chunks: list[list[tuple[tuple[str, int], list[Target]]]] = []
    for group in groups:
        last = chunks[-1] if chunks else None
        if last is not None and len(last) < size and len(last[0][1]) == len(group[1]):
            last.append(group)
        else:
            chunks.append([group])
    return list(chunks)


@torch.no_grad()
def sample_images(
    trained: TrainedModel,
    reference_images: Tensor,
    reference_params: HeadParams,
    reference_camera: Camera,
    target_params: HeadParams,
    target_camera: Camera,
    domains: Tensor,
    keys: Sequence[tuple[str, int]],
    seed: int,
    n_ddim_steps: int,
    with_reference: bool = True,
) -> tuple[Tensor, Tensor]:
    """Sample pictures [B, 3, S, S] in [0, 1]; return them and their control maps [B, C + 1, S, S].

    R references [R, 3, S, S] have B / R targets each, in order. `keys` [B] determine the noise of the pictures. Without
    the reference the pictures show no particular identity, as in training without it.
    """
    network, head = trained.network, trained.head
    n_targets = len(keys) // len(reference_images)
    reference = None
    if with_reference:
        reference_control = network.field(network.field.means(pose_head(head, reference_params)), reference_camera)
        reference = network.encode_reference(network.codec.encode(reference_images), reference_control, domains)
    control = network.field(network.field.means(pose_head(head, target_params)), target_camera)
    size = network.config.latent_size
    shape = (network.config.n_components, size, size)
    noise = torch.stack([initial_noise(seed, subject_id, view, shape) for subject_id, view in keys]).to(control.device)
    target_domains = domains.repeat_interleave(n_targets)

    def predict(noisy: Tensor, step: Tensor) -> Tensor:
        return network.predict_velocity(noisy, step, control, target_domains, reference, n_targets)

    return network.codec.decode(ddim(predict, noise, n_ddim_steps)).clamp(0, 1), control


def to_uint8(images: Tensor) -> np.ndarray:
    """Convert [B, 3, H, W] in [0, 1], on any device, to [B, H, W, 3] uint8, rounded."""
    return (images * 255).round().byte().permute(0, 2, 3, 1).contiguous().cpu().numpy()


@torch.no_grad()
def generate_portrait_views(
    config: GenerateConfig,
    model: Path,
    portrait: Path,
    output: Path,
    progress: Progress = SILENT,
    *,
    device: str = "cpu",
) -> None:
    """Sample the person of a tracked photo from a grid of directions; write a shard of `Sample`s to the file `output`.

    `portrait` holds photo.png (on white) and track.json. The views keep the photo's expression, focal length and
    distance; their cameras look at the head's origin from a grid of azimuths and elevations. Neck and translation are
    zero, as in the dataset. Sampling runs on `device`; the noise does not depend on it.
    """
    trained = load_model(model, resolve_device(device))
    image, params, camera = read_portrait(portrait, trained.network.config.image_size)
    angles = portrait_angles(config)
    views = cameras_like(camera, angles)
    target = still_params(params, len(angles))
    progress.start(len(angles), "image")
    pictures, masks = sample_person(config, trained, portrait.name, image, params, camera, target, views)
    samples = [
        Sample(
            subject_id=portrait.name,
            view=i,
            split="train",
            source=config.domain,
            seed=config.seed,
            image=pictures[i],
            mask=masks[i],
            camera=views[i],
            params=target[i],
            yaw_deg=yaw_deg,
            pitch_deg=pitch_deg,
        )
        for i, (yaw_deg, pitch_deg) in enumerate(angles)
    ]
    write_shard(output, [samples])
    progress.item_done(portrait.name, len(angles))


@torch.no_grad()
def sample_person(
    config: GenerateConfig,
    trained: TrainedModel,
    name: str,
    photo: np.ndarray,
    params: HeadParams,
    camera: Camera,
    target_params: HeadParams,
    target_camera: Camera,
) -> tuple[np.ndarray, np.ndarray]:
    """Sample the person of a photo in other poses and views: pictures [n, S, S, 3] and masks [n, S, S], both uint8.

    `photo` [S, S, 3] uint8, over white, has the model's picture size; `params` and `camera`, unbatched, are tracked
    from it. `target_params` [n] and `target_camera` [n] control the pictures. `name` and the index of a picture are the
    key of its noise. Everything is moved to the model's device. Raises ModelMismatchError for parameters of another
    head model than the trained one.
    """
    if params.model_id != trained.head.model_id:
        raise ModelMismatchError(trained.head.model_id, params.model_id)
    place = trained.head.v_template.device
    reference = torch.from_numpy(photo).permute(2, 0, 1)[None].float() / 255
    keys = [(name, view) for view in range(len(target_params.expr))]
    domains = torch.tensor([DOMAINS.index(config.domain)], device="cpu")
    with torch_threads(config.n_threads):
        images, control = sample_images(
            trained, reference.to(place), HeadParams.stack([params]).to(place), Camera.stack([camera]).to(place),
            target_params.to(place), target_camera.to(place), domains.to(place), keys, config.seed,
            config.n_ddim_steps,
        )  # fmt: skip
    return to_uint8(images), foreground_masks(images, control)


def still_params(params: HeadParams, n: int) -> HeadParams:
    """Return `params` (unbatched or [n]) as [n], with shape and expression kept, at the origin facing +z."""
    people = params if params.expr.ndim == 2 else HeadParams.stack([params])
    if len(people.expr) not in (1, n):
        raise ShapeError("params.expr", f"[n_expr] or [{n}, n_expr]", tuple(params.expr.shape))
    nothing = torch.zeros_like(people.neck)
    still = people.replace(neck=nothing, rotation=nothing, translation=nothing)
    return still if len(people.expr) == n else still[[0] * n]


def read_portrait(portrait: Path, image_size: int) -> tuple[np.ndarray, HeadParams, Camera]:
    """Read the photo [S, S, 3] uint8, averaged down, its tracked parameters and the camera resized to match.

    Parameters and camera are unbatched, on the CPU.
    """
    try:
        track = json.loads((portrait / "track.json").read_text())
        photo = decode_image((portrait / "photo.png").read_bytes())
        tensors = {
            name: torch.tensor(value, dtype=torch.float32, device="cpu") for name, value in track["params"].items()
        }
        params = HeadParams(track["model_id"], **tensors)
        K, viewmat = (
            torch.tensor(track["camera"][name], dtype=torch.float32, device="cpu") for name in ("K", "viewmat")
        )
        camera = Camera(K, viewmat, photo.shape[1], photo.shape[0])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(portrait, f"{portrait} is not a tracked portrait ({error}).",
                        "track the photo again: headforge track") from error  # fmt: skip
    return area_resize(photo, image_size), params, camera.resized(image_size, image_size)


def portrait_angles(config: GenerateConfig) -> list[tuple[float, float]]:
    """Return (yaw, pitch) in degrees of the configured grid of views."""
    limit = config.portrait_yaw_max_deg
    yaws = torch.linspace(-limit, limit, config.portrait_n_yaws, device="cpu")
    return [(float(yaw), pitch) for pitch in config.portrait_pitches_deg for yaw in yaws]


def cameras_like(camera: Camera, angles: Sequence[tuple[float, float]]) -> Camera:
    """Return cameras [n] with `camera`'s focal length, size and distance, about the origin at `angles` (yaw, pitch)."""
    return orbit_camera(
        torch.tensor([yaw for yaw, _ in angles], device=camera.K.device),
        torch.tensor([pitch for _, pitch in angles], device=camera.K.device),
        distance_m=float(camera.centre.norm()),
        focal_px=float(camera.K[0, 0]),
        width=camera.width,
        height=camera.height,
    )


def foreground_masks(images: Tensor, control: Tensor) -> np.ndarray:
    """Return masks [B, S, S] uint8: the head's alpha, opaque on non-white regions connected to it (hair, clothes)."""
    alpha = control[:, -1:]
    head = alpha > FOREGROUND_ALPHA
    differs = avg_pool2d((1 - images).amax(1, keepdim=True), 3, 1, 1) * 255 > BACKGROUND_DISTANCE
    grown = head
    for _ in range(images.shape[-1]):
        wider = (max_pool2d(grown.float(), 3, 1, 1) > 0) & (differs | head)
        if torch.equal(wider, grown):
            break
        grown = wider
    mask = torch.where(grown & differs, torch.ones_like(alpha), alpha * head)
    return (mask[:, 0] * 255).round().byte().cpu().numpy()
