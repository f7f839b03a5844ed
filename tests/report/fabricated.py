"""A run made up of the test head in seconds: the folders of every stage, as the real stages write them."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import torch

from headforge.avatar.rig import RiggedGaussians, rgb_to_dc, save_rigged
from headforge.diffusion.config import NetworkConfig
from headforge.diffusion.model_files import save_model
from headforge.diffusion.networks.control import GaussianField
from headforge.diffusion.networks.latent import PatchPCA
from headforge.diffusion.networks.network import Learn2Control
from headforge.flame.files import save_head
from headforge.flame.model import HeadModel, pose_head
from headforge.geometry.cameras import focal_px_from_fov, orbit_camera
from headforge.geometry.meshes import vertex_normals
from headforge.render.mesh import interpolate, rasterize
from headforge.store.dataset.coverage import COVERAGE_FILE, write_coverage
from headforge.store.dataset.identities import (
    IDENTITIES_FILE,
    MARKS_FILE,
    Identity,
    Mark,
    write_identities,
    write_marks,
)
from headforge.store.dataset.shards import write_dataset_json, write_shard
from headforge.store.dataset.tables import Reject, write_predictions, write_rejects, write_tracks
from headforge.store.images import area_resize, encode_png
from headforge.store.video import write_video
from headforge.synth.coverage import add_cells, count_views
from headforge.types import Camera, HeadParams, Prediction, Sample, Track
from tests.heads import tiny_head

N_SUBJECTS, N_VIEWS, SIZE, MODEL_SIZE = 4, 4, 32, 16
PORTRAIT = "someone"


def fabricate_run(root: Path, portrait: str = PORTRAIT) -> dict[str, Path]:
    """Folders by the names of `build_report`'s arguments; metrics are left to the tests that need them."""
    torch.manual_seed(0)
    head = tiny_head()
    folders = {name: root / name for name in ("dataset", "tracked", "models", "avatars", "metrics")}
    for folder in folders.values():
        folder.mkdir(parents=True)
    samples = [[_sample(head, subject, view) for view in range(N_VIEWS)] for subject in range(N_SUBJECTS)]
    _write_dataset(folders["dataset"], head, samples)
    _write_tracked(folders["tracked"], head, samples, portrait)
    _write_model(folders["models"], folders["dataset"] / "head_model.safetensors", head)
    for subject in (samples[1], samples[3]):
        _write_avatar(folders["avatars"] / subject[0].subject_id, head, subject)
    _write_avatar(folders["avatars"] / portrait, head, samples[0], is_portrait=True)
    rejected = [{"item": "000002", "gate": "views", "reason": "too few views were tracked"}]
    (folders["avatars"] / "rejects.json").write_text(json.dumps(rejected))
    _write_predictions(folders["metrics"] / "details", samples)
    return folders


def rigged_avatar(head: HeadModel, per_face: int = 1) -> RiggedGaussians:
    """Flat Gaussians on every triangle of the head, coloured by where they are."""
    generator = torch.Generator().manual_seed(5)
    binding = torch.arange(len(head.faces)).repeat(per_face)
    n = len(binding)
    place = head.v_template[head.faces].mean(1)[binding]
    rgb = torch.stack([0.7 + 0.2 * (place[:, 1] * 40).sin(), 0.55 + 1.5 * place[:, 0], 0.45 + place[:, 2]], dim=-1)
    spread = torch.tensor([0.25, 0.02, 0.25])
    return RiggedGaussians(
        model_id=head.model_id,
        binding=binding,
        means=torch.randn(n, 3, generator=generator) * spread,
        log_scales=torch.tensor([0.35, 0.05, 0.35]).log().expand(n, 3) + 0.1 * torch.randn(n, 3, generator=generator),
        quats=torch.nn.functional.normalize(torch.randn(n, 4, generator=generator), dim=-1),
        opacity_logits=torch.randn(n, generator=generator) + 1,
        sh=rgb_to_dc(rgb)[:, None],
        is_free=torch.zeros(n, dtype=torch.bool),
    )


def _sample(head: HeadModel, subject: int, view: int) -> Sample:
    generator = torch.Generator().manual_seed(100 * subject + view)
    shape = torch.randn(head.n_shape, generator=torch.Generator().manual_seed(subject))
    yaw_deg, pitch_deg = (5.0, 2.0) if view == 0 else (-60.0 + 120 * view / N_VIEWS, -20.0 + 12 * view)
    camera = orbit_camera(
        yaw_deg, pitch_deg, distance_m=1.0, focal_px=focal_px_from_fov(22, SIZE), width=SIZE, height=SIZE
    )
    neutral = head.neutral()
    params = neutral.replace(shape=shape, expr=0.5 * torch.randn(head.n_expr, generator=generator))
    image, mask = _picture(head, params, camera, subject)
    hair = "long" if subject == 3 else "short"
    split = "test" if subject % 2 else "train"
    return Sample(
        f"{subject:06d}", view, split, "synthetic", subject, image, mask, camera, params, yaw_deg, pitch_deg,
        {"coverage": 0.5}, {"hair": hair, "skin": "light"},
    )  # fmt: skip


def _picture(head: HeadModel, params: HeadParams, camera: Camera, subject: int) -> tuple[np.ndarray, np.ndarray]:
    batched = HeadParams(params.model_id, **{name: value[None] for name, value in params.tensors().items()})
    vertices = pose_head(head, batched)
    fragments = rasterize(vertices, head.faces, Camera.stack([camera]))
    normals = interpolate(fragments, vertex_normals(vertices, head.faces)[0][head.faces])[0]
    tint = torch.tensor([0.9, 0.75 - 0.1 * subject, 0.6])
    shaded = (0.6 + 0.4 * normals[..., 2:]) * tint
    covered = fragments.mask[0]
    image = torch.where(covered[..., None], shaded, torch.ones(3))
    return (image.clamp(0, 1) * 255).to(torch.uint8).numpy(), (covered.to(torch.uint8) * 255).numpy()


def _write_dataset(folder: Path, head: HeadModel, samples: list[list[Sample]]) -> None:
    save_head(head, folder / "head_model.safetensors")
    write_shard(folder / "shards" / "part-00000.parquet", samples)
    write_rejects(folder / "rejects.parquet", [Reject("000002/1", "coverage", "the head touches the border", 0.98)])
    people = [Identity(s[0].subject_id, s[0].split, i % 2, s[0].params.shape.numpy()) for i, s in enumerate(samples)]
    write_identities(folder / IDENTITIES_FILE, people)
    write_marks(folder / MARKS_FILE, [Mark("000003", "duplicate", "000001", 0.125)])
    cells = [count_views(head, views, one.cluster) for views, one in zip(samples, people, strict=True)]
    write_coverage(folder / COVERAGE_FILE, add_cells(cells))
    write_dataset_json(folder, generator="test", params={}, licences={"synthetic": "none"}, n_rejected=1)


def _write_tracked(folder: Path, head: HeadModel, samples: list[list[Sample]], portrait: str) -> None:
    tracks = [_track(sample) for subject in samples for sample in subject]
    write_tracks(folder / "shards" / "part-00000.parquet", tracks)
    (folder / "tracks.json").write_text(json.dumps({"n_ok": len(tracks), "rms_px": 0.2}))
    place = folder / "portraits" / portrait
    place.mkdir(parents=True)
    big = np.repeat(np.repeat(samples[0][0].image, 4, 0), 4, 1)
    mask = np.repeat(np.repeat(samples[0][0].mask, 4, 0), 4, 1)
    for name, picture in (("photo", big), ("original_crop", big), ("mask", mask), ("overlay", big)):
        (place / f"{name}.png").write_bytes(encode_png(picture))
    (place / "track.json").write_text("{}")
    (folder / "rejects.json").write_text(json.dumps([{"item": "cat", "gate": "face", "reason": "no face was found"}]))


def _track(sample: Sample) -> Track:
    generator = torch.Generator().manual_seed(sample.seed * 10 + sample.view)
    params = sample.params.replace(expr=sample.params.expr + 0.1 * torch.randn(6, generator=generator))
    rejected = sample.subject_id == "000001" and sample.view == 3
    status, reason = ("rejected", "too few landmarks") if rejected else ("ok", "")
    residual = float("nan") if rejected else 0.2 + 0.01 * sample.view
    return Track(sample.subject_id, sample.view, status, reason, sample.camera, params, residual, 50)


def _write_model(folder: Path, head_file: Path, head: HeadModel) -> None:
    config = NetworkConfig(MODEL_SIZE, widths=(16, 16), n_components=4, token_dim=8, control_channels=4,
                           control_resolution=16)  # fmt: skip
    field = GaussianField.on_head(head, config.control_resolution, config.control_channels, seed=0)
    save_model(folder, Learn2Control(config, field, PatchPCA(config.patch, config.n_components)), head_file, {})
    log = [{"n_images_seen": 16 * i, "loss": 1 / (1 + i), "learning_rate": 0.01} for i in range(1, 40)]
    (folder / "train_log.jsonl").write_text("".join(json.dumps(line) + "\n" for line in log))


def _write_avatar(folder: Path, head: HeadModel, samples: list[Sample], is_portrait: bool = False) -> None:
    folder.mkdir()
    save_rigged(rigged_avatar(head), folder / "avatar.safetensors", samples[0].params, {})
    (folder / "avatar.json").write_text(json.dumps({"config": {"image_size": SIZE, "portrait_size": SIZE}}))
    frames = np.stack([s.image for s in samples])
    write_video(folder / "turntable.mp4", frames, 5)
    if is_portrait:
        (folder / "frontal.png").write_bytes(encode_png(samples[0].image))
        write_shard(folder / "views.parquet", [samples])
    else:
        predictions = [
            _prediction(s, method, SIZE) for s in samples[2:] for method in ("avatar_exact", "avatar_tracked")
        ]
        write_predictions(folder / "predictions.parquet", predictions)


def _write_predictions(folder: Path, samples: list[list[Sample]]) -> None:
    methods = ("control_tracked", "control_exact", "copy", "reproject_tracked")
    held_out = [s for subject in samples for s in subject if s.split == "test" and s.view > 0]
    folder.mkdir(parents=True)
    predictions = [_prediction(s, method, MODEL_SIZE) for s in held_out for method in methods]
    write_predictions(folder / "predictions.parquet", predictions)


def _prediction(sample: Sample, method: str, size: int) -> Prediction:
    noise = math.sin(len(method)) * np.indices((size, size)).sum(0)[..., None]
    image = np.clip(area_resize(sample.image, size) + noise, 0, 255).astype(np.uint8)
    return Prediction(sample.subject_id, sample.view, method, 0, image)
