"""Control maps, networks, losses and samplers compute where their inputs are; jobs move what they read."""

from __future__ import annotations

import dataclasses
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from headforge.diffusion import bank, baselines, generate, loss, model_files, sample, train
from headforge.diffusion.bank import ViewBank
from headforge.diffusion.config import GenerateConfig
from headforge.diffusion.model_files import TrainedModel
from headforge.diffusion.networks import attention, control, guider, latent, network
from headforge.diffusion.networks.attention import Exchange, Reference
from headforge.diffusion.networks.control import GaussianField
from headforge.diffusion.networks.guider import PoseGuider
from headforge.diffusion.networks.network import Learn2Control
from headforge.diffusion.targets import Target
from headforge.diffusion.training import batches, optim, samples
from headforge.diffusion.training.batches import Batch, BatchMaker
from headforge.errors import ConfigError
from headforge.types import Camera, HeadParams
from tests.devices import META, Call, check_complete, check_on_cpu, check_on_meta, moved, parametrized, tensors_in
from tests.diffusion.conftest import NETWORK, seeded_model, tiny_samples, tiny_train_config
from tests.heads import tiny_head

FILES = "reads or writes files"
CONTROL = NETWORK.control_channels + 1


@cache
def network_with_weights() -> Learn2Control:
    """Shared: calls on `meta` are of a copy, others change nothing."""
    return seeded_model().requires_grad_(False).eval()


def rows(*shape: int) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(0))


def steps(n: int = 2) -> Tensor:
    return torch.arange(1, n + 1) * 300


def latents(n: int = 2) -> Tensor:
    return rows(n, NETWORK.n_components, NETWORK.latent_size, NETWORK.latent_size)


def maps(n: int = 2) -> Tensor:
    return rows(n, CONTROL, NETWORK.image_size, NETWORK.image_size)


def views() -> ViewBank:
    """Two subjects' views, small."""
    found = [s for subject in range(2) for s in tiny_samples(subject)]
    return ViewBank(
        images=np.stack([s.image[::2, ::2] for s in found]),
        camera=Camera.stack([s.camera for s in found]).resized(16, 16),
        params=HeadParams.stack([s.params for s in found]),
        keys=tuple((s.subject_id, s.view) for s in found),
        domains=torch.zeros(len(found), dtype=torch.int64),
        yaw_deg=np.array([s.yaw_deg for s in found]),
    )


def field() -> GaussianField:
    return network_with_weights().field


def means() -> Tensor:
    return field().means(tiny_head().v_template[None].repeat(2, 1, 1)).detach()


def colors() -> Tensor:
    return rows(len(field().features), 3)


def sampling() -> tuple[object, ...]:
    """Arguments of `sample_images`: one reference, two targets."""
    v, trained = views(), TrainedModel(network_with_weights(), tiny_head())
    first = (v.pictures(torch.tensor([1])), v.params[:1], v.camera[:1])
    return trained, *first, v.params[2:4], v.camera[2:4], v.domains[:1], [("a", 0), ("a", 1)], 0, 3


def person() -> tuple[object, ...]:
    """Arguments of `sample_person`."""
    v, config = views(), GenerateConfig(n_ddim_steps=2)
    photo = v.images[0]
    return config, sampling()[0], "a", photo, v.params[0], v.camera[0], v.params[2:4], v.camera[2:4]


def batch() -> Batch:
    maker = BatchMaker(0, {"a": range(7), "b": range(7, 14)}, {"a": [1], "b": [8]}, 2, 2, latents().shape[1:])
    return maker.batch(0)


def reference(model: Learn2Control, with_reference: bool) -> Tensor:
    """The whole network: reference branch, then denoiser."""
    device = next(model.parameters()).device
    clean, seen = latents(1).to(device), maps(1).to(device)
    domain = torch.zeros(1, dtype=torch.int64, device=device)
    found = model.encode_reference(clean, seen, domain) if with_reference else None
    args = (latents().to(device), steps().to(device), maps().to(device), domain.repeat(2))
    return model.predict_velocity(*args, found, 2)


def optimiser() -> optim.MuonAdamW:
    return train.make_optimizer(seeded_model(), tiny_train_config())


CALLS = [
    *(Call(f, lambda: (latents(), latents(), steps())) for f in
      (loss.add_noise, loss.velocity, loss.clean_from_velocity, loss.noise_from_velocity)),
    Call(loss.signal_and_noise, lambda: (steps(),)),
    Call(loss.velocity_loss, lambda: (latents(), latents(), latents(), steps())),
    Call(loss.input_scale, lambda: (steps(), rows(4))),
    Call(loss.velocity_skip, lambda: (steps(), rows(4))),
    Call(loss.stratified_steps, lambda: (5, torch.Generator().manual_seed(0)), reason="random numbers: on the CPU"),
    Call(sample.ddim, lambda: (lambda noisy, step: noisy * step[:, None, None, None], latents(), 3)),
    Call(sample.initial_noise, lambda: (0, "a", 1, (4, 8, 8)), reason="random numbers are drawn on the CPU"),
    Call(attention.pool_control, lambda: (maps(), NETWORK.level_sizes)),
    Call(control.GaussianField.on_head, lambda: (tiny_head(), 12, 8, 0), reason="how many texels are used"),
    Call(control.GaussianField.means, lambda: (field(), rows(2, 430, 3))),
    Call(control.GaussianField.forward, lambda: (field(), means(), views().camera[:2])),
    Call(control.texel_spacing_m, lambda: (tiny_head(), torch.tensor([3, 4]), 12)),
    Call(guider.PoseGuider.forward, lambda: (PoseGuider(CONTROL, 2, (8, 8), (1, 2)), maps())),
    Call(latent.PatchPCA.fit, lambda: (views().images, 4, 8), reason="fits arrays"),
    Call(latent.PatchPCA.encode, lambda: (network_with_weights().codec, rows(2, 3, 16, 16))),
    Call(latent.PatchPCA.decode, lambda: (network_with_weights().codec, latents())),
    Call(network.run_unet, lambda: (network_with_weights().denoiser, latents(), steps(), rows(2, 1, 8))),
    Call(network.Learn2Control.encode_reference,
         lambda: (network_with_weights(), latents(), maps(), torch.zeros(2, dtype=torch.int64))),
    Call(network.Learn2Control.predict_velocity,
         lambda: (network_with_weights(), latents(), steps(), maps(), torch.zeros(2, dtype=torch.int64), None, 1)),
    Call(generate.sample_images, sampling),
    Call(generate.sample_images, sampling, {"with_reference": False}),
    Call(generate.to_uint8, lambda: (rows(2, 3, 8, 8),), reason="gives an array"),
    Call(generate.foreground_masks, lambda: (rows(2, 3, 16, 16), maps()), reason="grows until nothing changes"),
    Call(generate.cameras_like, lambda: (views().camera[0], [(0.0, 0.0), (20.0, 5.0)]),
         reason="takes focal and distance"),
    Call(generate.still_params, lambda: (views().params[0], 2)),
    Call(generate.sample_person, person, reason="gives arrays"),
    Call(generate.sample_targets,
         lambda: (GenerateConfig(n_ddim_steps=2), sampling()[0], views(), [Target("000000", 3, 1)], "m"),
         reason="gives arrays"),
    Call(baselines.reference_colors, lambda: (field(), means()[0], views().camera[:1], rows(1, 3, 16, 16)),
         reason="looks for the nearest visible Gaussians"),
    Call(baselines.draw, lambda: (field(), means(), colors(), views().camera[:2])),
    Call(baselines.reproject, lambda: (tiny_head(), field(), views(), [Target("000000", 3, 1)], "m"),
         reason="gives arrays"),
    Call(ViewBank.means, lambda: (views(), tiny_head(), field())),
    Call(ViewBank.pictures, lambda: (views(), torch.tensor([1, 3])), reason="takes rows on the CPU: see below"),
    Call(train.build_model, lambda: (0, NETWORK, tiny_head(), views().images),
         reason="weights are drawn on the CPU"),
    Call(train.batch_loss,
         lambda: (network_with_weights(), views(), views().means(tiny_head(), field()), batch(), True),
         reason="takes rows on the CPU: see below"),
    Call(BatchMaker.batch, lambda: (BatchMaker(0, {"a": [0, 1]}, {"a": [0]}, 1, 1, (2, 2)), 0),
         reason="random numbers are drawn on the CPU"),
    Call(optim.orthogonalize, lambda: (rows(2, 6, 4),)),
    Call(optim.MuonAdamW.state, lambda: (optimiser(),), reason="belongs to a module"),
    Call(samples.control_preview, lambda: (maps(),)),
]  # fmt: skip
OTHERS = {
    "diffusion.baselines.write_baselines": "test_jobs_run_whatever_the_default_device_is",
    "diffusion.generate.generate_heldout": "test_jobs_run_whatever_the_default_device_is",
    "diffusion.generate.generate_portrait_views": "test_jobs_refuse_a_card_that_is_not_there",
    "diffusion.train.train": "test_jobs_refuse_a_card_that_is_not_there",
    "diffusion.train.make_optimizer": "test_one_step_of_training_on_meta",
    "diffusion.bank.load_bank": FILES,
    "diffusion.bank.read_tracks_of": FILES,
    "diffusion.bank.is_tracked": "no tensors",
    "diffusion.bank.torch_threads": "no tensors",
    "diffusion.baselines.mean_picture": FILES,
    "diffusion.generate.batched_by_length": "no tensors",
    "diffusion.generate.read_portrait": FILES,
    "diffusion.generate.portrait_angles": "numbers only",
    "diffusion.sample.ddim_steps": "numbers only",
    "diffusion.model_files.save_model": FILES,
    "diffusion.model_files.load_model": "test_a_loaded_model_is_on_the_device_whole",
    "diffusion.networks.attention.projections": "hands out layers",
    "diffusion.networks.attention.set_shared_attention": "new weights are made on torch's default device",
    "diffusion.networks.network.build_unet": "new weights are made on torch's default device",
    "diffusion.training.samples.write_samples": FILES,
}
MODULES = (
    bank, baselines, generate, loss, model_files, sample, train, attention, control, guider, latent, network, batches,
    optim, samples,
)  # fmt: skip
METHODS = ("ViewBank", "BatchMaker", "MuonAdamW")
"""Classes that are no networks, whose methods are called beyond what is asked for."""
runs_on_meta, all_calls = parametrized(CALLS)


@runs_on_meta
def test_on_meta(call: Call) -> None:
    check_on_meta(call)


@all_calls
def test_on_the_cpu_whatever_the_default_device_is(call: Call) -> None:
    check_on_cpu(call)


def test_no_entry_point_is_left_out() -> None:
    static = {"diffusion.networks.control.GaussianField.on_head", "diffusion.networks.latent.PatchPCA.fit"}
    calls = [c for c in CALLS if c.name not in static and not any(name in c.name for name in METHODS)]
    check_complete(calls, OTHERS, MODULES)


@pytest.mark.parametrize("with_reference", [True, False])
def test_the_whole_network_and_its_gradients_on_meta(with_reference: bool) -> None:
    model = moved(seeded_model(), META)
    found = reference(model, with_reference)
    assert found.is_meta and found.shape == latents().shape
    found.sum().backward()
    assert all(p.grad is None or p.grad.is_meta for p in model.parameters())


def test_a_reference_is_where_the_network_is() -> None:
    model = moved(seeded_model(), META)
    domain = torch.zeros(1, dtype=torch.int64, device=META)
    found = model.encode_reference(latents(1).to(META), maps(1).to(META), domain)
    assert isinstance(found, Reference)
    assert all(tensor.is_meta for tensor in tensors_in(found)) and found.states
    assert all(t.is_meta for t in tensors_in(Exchange(found.control).control))


def test_a_bank_gives_pictures_where_it_is_moved() -> None:
    there = views().to(META)
    assert isinstance(there.images, np.ndarray)
    assert there.pictures(torch.tensor([1, 3])).is_meta
    assert all(tensor.is_meta for tensor in tensors_in(there))


@pytest.mark.parametrize("with_reference", [True, False])
def test_one_step_of_training_on_meta(with_reference: bool) -> None:
    config = dataclasses.replace(tiny_train_config(), with_reference=with_reference)
    trainer = train.Trainer(config, NETWORK, tiny_head(), views(), META)
    assert all(tensor.is_meta for tensor in tensors_in(trainer.model)) and trainer.means.is_meta
    found = train.batch_loss(
        trainer.model, trainer.bank, trainer.means, trainer.batches.batch(0).to(META), with_reference
    )
    assert found.is_meta
    found.backward()
    trainer.optimizer.step(1.0)
    state = trainer.optimizer.state()
    assert {t.device.type for name, t in state.items() if name != "n_steps"} == {"meta"}
    assert state["n_steps"].is_cpu


def test_batches_do_not_depend_on_the_default_device() -> None:
    here = batch()
    with META:
        there = batch()
    for a, b in zip(tensors_in(here), tensors_in(there), strict=True):
        assert torch.equal(a, b)
    on_meta = here.to(META)
    assert on_meta.noise.is_meta and on_meta.steps.is_meta and on_meta.references.is_cpu and on_meta.targets.is_cpu


def test_a_loaded_model_is_on_the_device_whole(dataset_folder: Path, tmp_path: Path) -> None:
    model_files.save_model(tmp_path, seeded_model(), dataset_folder / "head_model.safetensors", {})
    for device in ("cpu", "meta"):
        trained = model_files.load_model(tmp_path, device)
        assert {t.device.type for t in (*tensors_in(trained.network), *tensors_in(trained.head))} == {device}


def test_jobs_run_whatever_the_default_device_is(dataset_folder: Path, tracked_folder: Path, tmp_path: Path) -> None:
    config = GenerateConfig(n_identities=1, n_reference_views=3, n_targets=1, n_ddim_steps=2)
    model_files.save_model(tmp_path / "m", seeded_model(), dataset_folder / "head_model.safetensors", {})
    found = []
    for default in ("cpu", "meta"):
        with torch.device(default):
            baselines.write_baselines(config, dataset_folder, tracked_folder, 16, tmp_path / "a.parquet")
            generate.generate_heldout(config, tmp_path / "m", dataset_folder, tracked_folder, tmp_path / "b.parquet")
        found.append([(tmp_path / name).read_bytes() for name in ("a.parquet", "b.parquet")])
    assert found[0] == found[1]


def test_jobs_refuse_a_card_that_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    config, nowhere = GenerateConfig(), tmp_path / "nowhere"
    jobs = (
        lambda: train.train(tiny_train_config(), nowhere, None, nowhere, nowhere, device="cuda"),
        lambda: generate.generate_heldout(config, nowhere, nowhere, None, nowhere, device="cuda"),
        lambda: generate.generate_portrait_views(config, nowhere, nowhere, nowhere, device="cuda"),
        lambda: baselines.write_baselines(config, nowhere, None, 16, nowhere, device="cuda"),
    )
    for job in jobs:
        with pytest.raises(ConfigError, match="torch sees no CUDA card here"):
            job()
    assert not nowhere.exists()
