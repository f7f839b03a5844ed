"""Ablation of the reference branch: the same training with and without it, scored on held-out identities.

    python benchmarks/control.py --json --out benchmarks/results/control.json
    python benchmarks/control.py --dataset data/synthetic --n-images-seen 9600 --json

Both runs see the same batches in the same order; exact parameters. Prints CPU time as measured, so compare only the
decibels between machines.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.record import arguments, finish, machine_record
from headforge.diffusion.bank import load_bank
from headforge.diffusion.baselines import write_baselines
from headforge.diffusion.config import GenerateConfig, NetworkConfig, TrainConfig
from headforge.diffusion.generate import sample_targets
from headforge.diffusion.model_files import TrainedModel
from headforge.diffusion.targets import heldout_targets
from headforge.diffusion.train import Trainer
from headforge.flame.files import load_head
from headforge.store.dataset.shards import Dataset
from headforge.store.dataset.tables import read_predictions
from headforge.synth.config import SynthesizeConfig
from headforge.synth.synthesize import assemble_dataset, synthesize_shard
from headforge.types import Prediction


def synthesize(folder: Path, n_subjects: int, views_per_subject: int, seed: int) -> Path:
    """Synthesize a small dataset in `folder`; return its path."""
    config = SynthesizeConfig(seed=seed, n_subjects=n_subjects, views_per_subject=views_per_subject)
    synthesize_shard(config, range(n_subjects), folder / "shard")
    assemble_dataset(config, [folder / "shard"], folder / "synthetic")
    return folder / "synthetic"


def psnr_db(predictions: list[Prediction], truth: dict[tuple[str, int], np.ndarray]) -> float:
    """Return the mean PSNR over pictures."""
    errors = [np.square(p.image / 255.0 - truth[p.subject_id, p.view] / 255.0).mean() for p in predictions]
    return float(np.mean([-10 * np.log10(max(error, 1e-10)) for error in errors]))


def train_and_score(
    config: TrainConfig, sampling: GenerateConfig, dataset: Dataset, work: Path
) -> tuple[float, float, float]:
    """Return the held-out PSNR in dB, the CPU seconds of training and the final loss."""
    head = load_head(dataset.head)
    bank = load_bank(dataset, dataset.subject_ids("train")[: config.n_identities], None, config.image_size)
    trainer = Trainer(config, NetworkConfig(image_size=config.image_size), head, bank)
    start = time.process_time()
    trainer.run(work)
    seconds = time.process_time() - start
    heldout = load_bank(dataset, dataset.subject_ids("test")[: sampling.n_identities], None, config.image_size)
    targets = heldout_targets(heldout, sampling.n_reference_views, sampling.n_targets)
    found = sample_targets(
        sampling, TrainedModel(trainer.averaged_model(), head), heldout, targets, "control_exact",
        with_reference=config.with_reference,
    )  # fmt: skip
    truth = {key: heldout.images[row] for key, row in heldout.rows.items()}
    return psnr_db(found, truth), seconds, trainer.log[-1]["loss"]


def compare(options: argparse.Namespace, folder: Path) -> dict[str, object]:
    """Score both trainings and the baselines on the same held-out pictures."""
    path = options.dataset or synthesize(folder, options.n_subjects, options.views_per_subject, options.seed)
    dataset = Dataset(path)
    sampling = GenerateConfig(n_identities=options.n_heldout, seed=options.seed)
    config = TrainConfig(n_images_seen=options.n_images_seen, seed=options.seed)
    results: dict[str, object] = {}
    for name, with_reference in (("with_reference", True), ("without_reference", False)):
        run = dataclasses.replace(config, with_reference=with_reference)
        psnr, seconds, loss = train_and_score(run, sampling, dataset, folder / name)
        results |= {f"{name}.psnr_db": psnr, f"{name}.cpu_s": seconds, f"{name}.loss": loss}
    write_baselines(sampling, path, None, config.image_size, folder / "baselines.parquet")
    heldout = load_bank(dataset, dataset.subject_ids("test")[: sampling.n_identities], None, config.image_size)
    truth = {key: heldout.images[row] for key, row in heldout.rows.items()}
    by_method: dict[str, list[Prediction]] = {}
    for prediction in read_predictions(folder / "baselines.parquet"):
        by_method.setdefault(prediction.method, []).append(prediction)
    results |= {f"{method}.psnr_db": psnr_db(found, truth) for method, found in by_method.items()}
    results["reference_branch_gain_db"] = float(results["with_reference.psnr_db"]) - float(  # type: ignore[arg-type]
        results["without_reference.psnr_db"]  # type: ignore[arg-type]
    )
    results |= {"n_images_seen": options.n_images_seen, "n_identities": len(dataset.subject_ids("train")),
                "n_heldout": len({s for s, _ in heldout.keys})}  # fmt: skip
    return results | machine_record(seeds=[options.seed])


def main() -> int:
    """Run from the command line."""
    parser = arguments(__doc__)
    parser.add_argument("--dataset", type=Path, help="a dataset folder; a small one is synthesized without it")
    parser.add_argument("--n-subjects", type=int, default=60, help="people in the synthesized dataset")
    parser.add_argument("--views-per-subject", type=int, default=12)
    parser.add_argument("--n-images-seen", type=int, default=4800, help="training length of each run")
    parser.add_argument("--n-heldout", type=int, default=10, help="held-out identities scored")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        finish(compare(options, Path(folder)), options)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
