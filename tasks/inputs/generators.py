"""Generators, the trained ones with their weights out of the store, for the stage that draws with them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from headforge.errors import ConfigError
from headforge.priors.assets import Asset, read_asset
from headforge.priors.gan.checkout import OfficialGan
from headforge.priors.gan.convert import load_gan
from headforge.priors.gan.generator import DrawSettings, GanPeople
from headforge.priors.gan.head_gans import CHECKOUT, WEIGHTS_FILE
from headforge.priors.licences import LEDGER
from headforge.synth.config import SynthesizeConfig
from headforge.synth.generators import Generator, make_generator
from headforge.synth.synthesize import BUILTIN_LICENCES
from tasks.inputs.assets import named_asset


def generator_asset(config: SynthesizeConfig, assets: Mapping[str, str], store: Path) -> Asset | None:
    """Return the asset that `config.generator` draws with, by the section `assets` of params.yaml; None for the builtin
    one.

    Raises ConfigError with the command that adds it.
    """
    if not config.is_trained:
        return None
    return named_asset(config.generator_asset or config.generator, config.generator, assets, store)


def load_generator(config: SynthesizeConfig, weights: Path | None) -> Generator[Any]:
    """Return the generator that `config` names; `weights` is the folder of a trained one's asset, else None."""
    return make_generator(config, None if weights is None else load_people(config, weights))


def load_people(config: SynthesizeConfig, folder: Path) -> GanPeople:
    """Return the trained people in the folder of an asset; the official code if the asset holds it.

    Raises ConfigError if `config` asks for a graphics card and there is none.
    """
    device = config.generator_device
    if device == "cuda" and not torch.cuda.is_available():
        message = "synthesize.generator_device is cuda, but torch finds no CUDA device."
        raise ConfigError("synthesize.generator_device", device, message, "set it to cpu.")
    asset = read_asset(folder)
    tensors = load_file(folder / WEIGHTS_FILE)
    checkout = folder / CHECKOUT
    model = OfficialGan(checkout, tensors, asset.facts) if checkout.is_dir() else load_gan(tensors, asset.facts)
    settings = DrawSettings(
        config.generator_psi, config.generator_unit_m, config.generator_batch, config.generator_half
    )
    return GanPeople(model, settings, device)


def dataset_licences(*assets: Asset | None) -> Mapping[str, str]:
    """Return what dataset.json says of the licences of a dataset that was made with some assets, or with none."""
    used = {name for asset in assets if asset is not None for name in asset.licences}
    return {name: LEDGER[name].title for name in sorted(used)} if used else BUILTIN_LICENCES
