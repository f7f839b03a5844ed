"""Training: resumable bit for bit, deterministic, and better than not training."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
import torch

from headforge.diffusion.bank import load_bank
from headforge.diffusion.config import TrainConfig
from headforge.diffusion.model_files import load_model
from headforge.diffusion.train import Trainer, train
from headforge.diffusion.training.checkpoint import FILE_NAME, read_checkpoint
from headforge.errors import ConfigError, DataError, NotFiniteError
from headforge.flame.files import load_head
from headforge.progress import SilentProgress
from headforge.store.dataset.shards import Dataset
from tests.diffusion.conftest import NETWORK, tiny_train_config

FILES = ("model.safetensors", "model.json", "head_model.safetensors", "train_log.jsonl", "samples.png")


class Killed(BaseException):
    """Stands in for a signal."""


class KillAfter(SilentProgress):
    """Ends the process's work, as seen from the training loop, after so many images."""

    def __init__(self, n_images: int) -> None:
        self.n_images = n_images
        self.seen = 0

    def item_done(self, item: str, n: int = 1) -> None:
        self.seen += n
        if self.seen >= self.n_images:
            raise Killed


def run(dataset: Path, tracked: Path | None, folder: Path, progress: SilentProgress | None = None) -> Path:
    output = folder / "model"
    train(tiny_train_config(), dataset, tracked, output, folder / "work", progress or SilentProgress(), NETWORK)
    return output


@pytest.fixture(scope="module")
def undisturbed(dataset_folder: Path, tracked_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One run from start to end."""
    return run(dataset_folder, tracked_folder, tmp_path_factory.mktemp("undisturbed"))


def test_it_writes_what_it_should(undisturbed: Path) -> None:
    assert sorted(p.name for p in undisturbed.iterdir()) == sorted(FILES)
    lines = [json.loads(line) for line in (undisturbed / "train_log.jsonl").read_text().splitlines()]
    assert [line["n_images_seen"] for line in lines] == [8, 16, 24]
    assert set(lines[0]) == {"n_images_seen", "loss", "rate_factor"}, "no times: the file is compared by content"
    assert json.loads((undisturbed / "model.json").read_text())["train"]["n_images_seen"] == 24


# 12 images: after the checkpoint at 8, with one iteration to be done again; 4: before any checkpoint.
@pytest.mark.parametrize("killed_after", [4, 12])
def test_a_killed_run_ends_with_the_same_bytes(
    killed_after: int, dataset_folder: Path, tracked_folder: Path, undisturbed: Path, tmp_path: Path
) -> None:
    with pytest.raises(Killed):
        run(dataset_folder, tracked_folder, tmp_path, KillAfter(killed_after))
    state = read_checkpoint(tmp_path / "work")
    assert (state.n_images_seen if state else 0) == (8 if killed_after == 12 else 0)
    torch.manual_seed(5)
    output = run(dataset_folder, tracked_folder, tmp_path)
    for name in FILES:
        assert (output / name).read_bytes() == (undisturbed / name).read_bytes(), name


def test_the_tracks_steer_the_training(dataset_folder: Path, undisturbed: Path, tmp_path: Path) -> None:
    exact = run(dataset_folder, None, tmp_path)
    assert (exact / "model.safetensors").read_bytes() != (undisturbed / "model.safetensors").read_bytes()


def test_a_damaged_checkpoint_is_named(dataset_folder: Path, tracked_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / FILE_NAME).write_bytes(b"not a checkpoint")
    with pytest.raises(DataError, match="can't be read"):
        run(dataset_folder, tracked_folder, tmp_path)


def trainer(dataset_folder: Path, **changes: object) -> Trainer:
    dataset = Dataset(dataset_folder)
    bank = load_bank(dataset, dataset.subject_ids("train"), None, 16)
    return Trainer(tiny_train_config(**changes), NETWORK, load_head(dataset.head), bank)


def test_every_learned_tensor_moves_and_the_gaussians_among_them(dataset_folder: Path, tmp_path: Path) -> None:
    it = trainer(dataset_folder)
    before = {name: p.detach().clone() for name, p in it.parameters.items()}
    it.run(tmp_path)
    still = {name for name, p in it.parameters.items() if torch.equal(p.detach(), before[name])}
    assert not {n for n in still if n.startswith(("field.", "guider.", "tokens.", "reference_guider."))}
    tail = ("reference.up_blocks.1.attentions.1.", "reference.conv_")
    assert [n for n in still if ".norm2." not in n and not n.startswith(tail)] == []


def test_training_lowers_the_loss(dataset_folder: Path, tmp_path: Path) -> None:
    it = trainer(dataset_folder, n_images_seen=80, log_images=20, checkpoint_images=80)
    it.run(tmp_path)
    losses = [line["loss"] for line in it.log]
    assert losses[-1] < 0.8 * losses[0]


def test_a_loss_that_is_not_finite_stops_the_run(dataset_folder: Path, tmp_path: Path) -> None:
    it = trainer(dataset_folder)
    with torch.no_grad():
        it.model.denoiser.conv_out.bias.fill_(float("nan"))
    with pytest.raises(NotFiniteError):
        it.run(tmp_path)


def test_learning_rate_follows_images_seen(dataset_folder: Path) -> None:
    it = trainer(dataset_folder)
    factors = [it.rate_factor(seen) for seen in range(0, 24, 4)]
    assert factors[0] == pytest.approx(1.0) and factors == sorted(factors, reverse=True)
    assert factors[-1] == pytest.approx(0.067, abs=0.01)


@pytest.mark.parametrize(("n_batches_before", "decay"), [(0, 0.1), (1, 2 / 11), (8, 0.5), (1000, 0.98)])
def test_a_young_average_forgets_faster(dataset_folder: Path, n_batches_before: int, decay: float) -> None:
    it = trainer(dataset_folder, ema_decay=0.98, n_images_seen=10_000)
    it.n_images_seen = n_batches_before * it.batches.n_images
    before = {name: average.clone() for name, average in it.average.items()}
    it.iterate()
    for name, p in it.parameters.items():
        expected = decay * before[name] + (1 - decay) * p.detach()
        torch.testing.assert_close(it.average[name], expected, rtol=1e-5, atol=1e-6)


def test_a_saved_model_is_the_averaged_one(undisturbed: Path) -> None:
    trained = load_model(undisturbed)
    assert trained.head.model_id == "tiny-test-head"
    assert not trained.network.training
    assert trained.network.config == NETWORK


def test_a_folder_without_a_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds no readable model"):
        load_model(tmp_path)


@pytest.mark.parametrize(("name", "value"), [("n_images_seen", 0), ("ema_decay", 1.0), ("image_size", 60)])
def test_settings_out_of_range_are_refused(name: str, value: float) -> None:
    with pytest.raises(ConfigError) as error:
        TrainConfig(**{name: value})  # type: ignore[arg-type]
    assert error.value.key == f"train.{name}" and error.value.found == value


def test_every_setting_is_documented() -> None:
    source = (Path(__file__).parents[2] / "headforge" / "diffusion" / "config.py").read_text()
    for field in dataclasses.fields(TrainConfig):
        line = source.split(f"    {field.name}: ", 1)[1].splitlines()[1]
        assert line.strip().startswith('"""'), field.name
