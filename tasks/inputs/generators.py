"""Generators of the stage `synthesize`; weights of trained ones come from the store."""

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
    """Return the asset of `config.generator` from the section `assets` of params.yaml; None for the builtin one.

    Raises ConfigError, with the command that adds it, if it is missing.
    """
    if not config.is_trained:
        return None
    return named_asset(config.generator_asset or config.generator, config.generator, assets, store)


def load_generator(config: SynthesizeConfig, weights: Path | None) -> Generator[Any]:
    """Return the generator that `config` names; `weights` is the folder of a trained one's asset, else None."""
    return make_generator(config, None if weights is None else load_people(config, weights))


def load_people(config: SynthesizeConfig, folder: Path) -> GanPeople:
    """Load the trained generator in the folder of an asset, with the official code if the asset contains it.

    Raises ConfigError if `config` asks for CUDA and there is no GPU.
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
    """Return the licences in dataset.json of a dataset made with these assets; None stands for no asset."""
    used = {name for asset in assets if asset is not None for name in asset.licences}
    return {name: LEDGER[name].title for name in sorted(used)} if used else BUILTIN_LICENCES
