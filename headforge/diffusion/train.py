"""Training of the Learn2Control model from scratch; resumed runs are bit-identical on the CPU."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from headforge.devices import resolve_device
from headforge.diffusion.bank import ViewBank, load_bank, read_tracks_of, torch_threads
from headforge.diffusion.config import NetworkConfig, TrainConfig
from headforge.diffusion.loss import add_noise, velocity_loss
from headforge.diffusion.model_files import TrainedModel, save_model
from headforge.diffusion.networks.control import GaussianField
from headforge.diffusion.networks.latent import PatchPCA
from headforge.diffusion.networks.network import Learn2Control
from headforge.diffusion.training.batches import Batch, BatchMaker
from headforge.diffusion.training.checkpoint import TrainState, read_checkpoint, write_checkpoint
from headforge.diffusion.training.optim import MuonAdamW
from headforge.diffusion.training.samples import write_samples
from headforge.errors import NotFiniteError
from headforge.flame.files import load_head
from headforge.flame.model import HeadModel
from headforge.geometry.seeding import item_seed
from headforge.progress import SILENT, Progress
from headforge.store.dataset.shards import Dataset
from headforge.store.files import write_bytes

VERSION = 2
FIELD_RATE_FACTOR = 6.0
"""Learning rate of the Gaussians over that of the other AdamW parameters."""
N_SAMPLED = 12
"""Held-out identities on the contact sheet."""


def train(
    config: TrainConfig,
    dataset: Path,
    tracked: Path | None,
    output: Path,
    work: Path,
    progress: Progress = SILENT,
    network: NetworkConfig | None = None,
    *,
    device: str = "cpu",
) -> None:
    """Train on the dataset's training identities, controlled by the tracks (exact parameters if `tracked` is None).

    Writes model.safetensors (averaged weights), model.json, head_model.safetensors, train_log.jsonl and samples.png
    to `output`. Resumes from the checkpoint in `work` if there is one; on the CPU the result is then bit-identical on
    the same machine with the same number of threads. Initial weights, batches and noise don't depend on `device`, and
    no file records it.
    """
    place = resolve_device(device)
    network = network or NetworkConfig(image_size=config.image_size)
    with torch_threads(config.n_threads):
        data = Dataset(dataset)
        head = load_head(data.head)
        subjects = data.subject_ids("train")[: config.n_identities]
        tracks = read_tracks_of(tracked)
        trainer = Trainer(config, network, head, load_bank(data, subjects, tracks, config.image_size), place)
        trainer.run(work, progress)
        model = trainer.averaged_model()
        save_model(output, model, data.head, {**dataclasses.asdict(config), "version": VERSION})
        lines = "".join(json.dumps(line, sort_keys=True) + "\n" for line in trainer.log)
        write_bytes(output / "train_log.jsonl", lines.encode())
        heldout = data.subject_ids("test")[:N_SAMPLED]
        if heldout and config.with_reference:
            bank = load_bank(data, heldout, tracks, config.image_size)
            write_samples(output / "samples.png", TrainedModel(model, head.to(place)), bank.to(place), config.seed)
            progress.image("samples", output / "samples.png")


class Trainer:
    """State and update steps of one training run."""

    def __init__(
        self,
        config: TrainConfig,
        network: NetworkConfig,
        head: HeadModel,
        bank: ViewBank,
        device: torch.device | str = "cpu",
    ) -> None:
        """Draw the weights on the CPU, where `head` and `bank` are, then move everything to `device`."""
        self.config = config
        self.device = torch.device(device)
        self.bank = bank.to(device)
        self.model = build_model(config.seed, network, head, bank.images).to(device)
        self.means = self.bank.means(head.to(device), self.model.field)
        size = network.latent_size
        subjects = bank.subjects()
        frontal = {s: [r for r in rows if abs(bank.yaw_deg[r]) <= config.reference_yaw_max_deg]
                   for s, rows in subjects.items()}  # fmt: skip
        self.batches = BatchMaker(config.seed, subjects, frontal, config.n_references, config.n_targets,
                                  (network.n_components, size, size))  # fmt: skip
        self.optimizer = make_optimizer(self.model, config)
        self.parameters = {name: p for name, p in self.model.named_parameters() if p.requires_grad}
        self.average = {name: p.detach().clone() for name, p in self.parameters.items()}
        self.n_images_seen = 0
        self.log: list[dict[str, float]] = []
        self.losses: list[float] = []

    def run(self, work: Path, progress: Progress = SILENT) -> None:
        """Train to the end, from the checkpoint in `work` if there is one."""
        work.mkdir(parents=True, exist_ok=True)
        state = read_checkpoint(work)
        if state is not None:
            self._restore(state)
        config, step = self.config, self.batches.n_images
        progress.start(config.n_images_seen, "image")
        progress.item_done("resumed", self.n_images_seen)
        while self.n_images_seen < config.n_images_seen:
            self.losses.append(self.iterate())
            before, self.n_images_seen = self.n_images_seen, self.n_images_seen + step
            ended = self.n_images_seen >= config.n_images_seen
            if ended or before // config.log_images != self.n_images_seen // config.log_images:
                loss = math.fsum(self.losses) / len(self.losses)
                self.log.append({"n_images_seen": self.n_images_seen, "loss": loss,
                                 "rate_factor": self.rate_factor(before)})  # fmt: skip
                self.losses = []
                progress.metric("train/loss", loss, self.n_images_seen)
            if ended or before // config.checkpoint_images != self.n_images_seen // config.checkpoint_images:
                write_checkpoint(work, self._state())
            progress.item_done(str(self.n_images_seen), step)

    def rate_factor(self, n_images_seen: int) -> float:
        """Return the learning rate over its peak: a short linear rise, then half a cosine down to zero."""
        rise = min(1.0, (n_images_seen + self.batches.n_images) / max(1, self.config.warmup_images))
        return rise * 0.5 * (1 + math.cos(math.pi * n_images_seen / self.config.n_images_seen))

    def iterate(self) -> float:
        """Run one optimiser step on the batch after `n_images_seen`; return its loss."""
        batch = self.batches.batch(self.n_images_seen).to(self.device)
        loss = batch_loss(self.model, self.bank, self.means, batch, self.config.with_reference)
        value = float(loss.detach())
        if not math.isfinite(value):
            raise NotFiniteError(f"the loss after {self.n_images_seen} images", 1, 1)
        loss.backward()
        self.optimizer.step(self.rate_factor(self.n_images_seen))
        with torch.no_grad():
            # The decay is smaller early in training, so that the initial weights soon drop out of the average.
            n = self.n_images_seen // self.batches.n_images
            decay = min(self.config.ema_decay, (1 + n) / (10 + n))
            for name, p in self.parameters.items():
                self.average[name].lerp_(p, 1 - decay)
        return value

    def averaged_model(self) -> Learn2Control:
        """Return the model with its averaged weights, for inference; the trainer can't continue afterwards."""
        with torch.no_grad():
            for name, p in self.parameters.items():
                p.copy_(self.average[name])
        return self.model.eval()

    def _state(self) -> TrainState:
        tensors: dict[str, Tensor] = {f"model.{k}": v.detach() for k, v in self.parameters.items()}
        tensors |= {f"average.{k}": v for k, v in self.average.items()}
        tensors |= {f"optimizer.{k}": v for k, v in self.optimizer.state().items()}
        return TrainState(self.n_images_seen, self.log, self.losses, tensors)

    def _restore(self, state: TrainState) -> None:
        with torch.no_grad():
            for name, p in self.parameters.items():
                p.copy_(state.tensors[f"model.{name}"])
                self.average[name].copy_(state.tensors[f"average.{name}"])
        prefix = "optimizer."
        self.optimizer.load_state({k.removeprefix(prefix): v for k, v in state.tensors.items() if k.startswith(prefix)})
        self.n_images_seen, self.log, self.losses = (
            state.n_images_seen,
            [dict(line) for line in state.log],
            list(state.losses),
        )


def build_model(seed: int, network: NetworkConfig, head: HeadModel, images: np.ndarray) -> Learn2Control:
    """Return a CPU model with initial weights drawn from `seed` and the codec fitted to `images` [N, S, S, 3] uint8."""
    field = GaussianField.on_head(head, network.control_resolution, network.control_channels, seed)
    codec = PatchPCA.fit(images, network.patch, network.n_components)
    with torch.random.fork_rng(devices=[]), torch.device("cpu"):
        torch.manual_seed(item_seed(seed, "weights"))
        return Learn2Control(network, field, codec)


def make_optimizer(model: Learn2Control, config: TrainConfig) -> MuonAdamW:
    """Return the optimiser: Muon for hidden matrices and convolutions, AdamW for all other parameters.

    AdamW's are the input and output layers, vectors, tokens and Gaussians.
    """
    edges = ("field.", "tokens.", "conv_in", "conv_out", "control_", "attn2.to_v")
    matrices, others, rates = {}, {}, {}
    for name, p in model.named_parameters():
        if not p.requires_grad:
            continue
        if p.ndim >= 2 and not any(edge in name for edge in edges):
            matrices[name] = p
        else:
            others[name] = p
            rates[name] = config.learning_rate * (FIELD_RATE_FACTOR if name.startswith("field.") else 1.0)
    return MuonAdamW(matrices, others, config.muon_learning_rate, rates, config.weight_decay)


def batch_loss(model: Learn2Control, bank: ViewBank, means: Tensor, batch: Batch, with_reference: bool) -> Tensor:
    """Return `velocity_loss` over one batch."""
    n_references, n = len(batch.references), len(batch.references) + len(batch.targets)
    rows = torch.cat([batch.references, batch.targets]) if with_reference else batch.targets
    control = model.field(means[rows], bank.camera[rows])
    latents = model.codec.encode(bank.pictures(rows))
    domains = bank.domains[rows]
    reference = None
    if with_reference:
        first, last = slice(0, n_references), slice(n_references, n)
        reference = model.encode_reference(latents[first], control[first], domains[first])
        control, latents, domains = control[last], latents[last], domains[last]
    noisy = add_noise(latents, batch.noise, batch.steps)
    n_targets = len(batch.targets) // n_references
    predicted = model.predict_velocity(noisy, batch.steps, control, domains, reference, n_targets)
    return velocity_loss(predicted, latents, batch.noise, batch.steps)
