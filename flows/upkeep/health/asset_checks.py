"""What `headforge doctor` looks at in the weights of other projects: whole, under which terms, small enough."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from flows.project.assets import stored
from flows.project.params import Settings
from flows.project.project import store_root
from flows.run.methods import chosen_outputs
from flows.stages import stage_named
from flows.upkeep.health.checks import BAD, INFO, LIMIT, OK, Finding
from headforge.priors.assets import Asset, asset_recipe
from headforge.priors.kinds import KINDS
from headforge.priors.licences import NO, ledger_entry, verdict
from headforge.store.objects.store import Store

TRAINING_COPIES = 5
"""Of a network in training: weights, gradients, two moments, average."""
SLOW_WITHOUT_CARD = ("spherehead", "panohead", "sd15", "animatediff")


@dataclass(frozen=True)
class Card:
    """A graphics card."""

    name: str
    free_bytes: int
    total_bytes: int


def asset_findings(settings: Settings) -> Iterator[Finding]:
    """Check each named asset: its bytes in the store, and what its licence forbids."""
    if not settings.assets:
        yield Finding("assets", OK, "params.yaml names none")
    store = Store(store_root())
    for name, sha256 in sorted(settings.assets.items()):
        lay_there = _lies_there(store, sha256)
        asset = stored(store, sha256, rehash=True)
        if asset is None:
            state = "was damaged and is put aside" if lay_there else "is not in the store"
            kind = lay_there or "KIND"
            fix = f"headforge assets add {kind} PATH --name {name}, with the file of that SHA-256."
            yield Finding(f"asset {name}", BAD, f"{sha256} {state}", fix)
            continue
        yield Finding(f"asset {name}", OK, f"{asset.kind}, {weight_bytes(asset) / 1e6:.1f} MB, every byte as converted")
        yield from _licence(name, asset)


def card_findings(settings: Settings, root: Path, cards: Sequence[Card]) -> Iterator[Finding]:
    """Graphics cards against what params.yaml asks for and what its weights take."""
    wanted = settings["engine"].gpus
    if wanted > len(cards):
        fix = f"headforge run -S engine.gpus={len(cards)}, or a build of torch that sees the card (nvidia-smi)."
        yield Finding("graphics cards", BAD, f"engine.gpus is {wanted}, torch sees {len(cards)}", fix)
    needs = memory_needs(settings, root)
    if not cards:
        slow = [name for name, (kind, _) in needs.items() if kind in SLOW_WITHOUT_CARD]
        if slow:
            fix = "run the stages that use them on a machine with a CUDA card, or make few pictures."
            yield Finding("graphics card", LIMIT, f"none; {', '.join(slow)} work on the processor, slowly", fix)
        else:
            yield Finding("graphics card", OK, "none, and nothing needs one")
        return
    smallest = min(cards, key=lambda card: card.total_bytes)
    for name, (_, n_bytes) in needs.items():
        yield _fits(name, n_bytes, smallest)


def memory_needs(settings: Settings, root: Path) -> dict[str, tuple[str, int]]:
    """Kind and least bytes of a card's memory by what needs them: weights alone, the pictures come on top."""
    store = Store(store_root())
    needs: dict[str, tuple[str, int]] = {}
    for name, sha256 in sorted(settings.assets.items()):
        asset = stored(store, sha256)
        if asset is not None:
            needs[f"asset {name}"] = (asset.kind, weight_bytes(asset))
    for output in chosen_outputs(settings, "train"):
        model = root / stage_named("train").output / output.folder / "model.safetensors"
        if settings["engine"].gpus and model.is_file():
            needs[f"training {output.name}"] = ("train", TRAINING_COPIES * model.stat().st_size)
    return needs


def visible_cards() -> list[Card]:
    """Return the graphics cards that torch sees."""
    if not torch.cuda.is_available():
        return []
    numbers = range(torch.cuda.device_count())
    return [Card(torch.cuda.get_device_name(i), *torch.cuda.mem_get_info(i)) for i in numbers]


def weight_bytes(asset: Asset) -> int:
    """Size of an asset's files."""
    return sum(path.stat().st_size for path in asset.folder.rglob("*") if path.is_file())


def _fits(name: str, n_bytes: int, card: Card) -> Finding:
    free, total = card.free_bytes / 1e9, card.total_bytes / 1e9
    found = f"at least {n_bytes / 1e9:.2f} GB; {card.name} has {free:.2f} GB free of {total:.2f}"
    check = f"card memory, {name}"
    if n_bytes > card.total_bytes:
        return Finding(check, BAD, found, "headforge run -S engine.gpus=0, or use a larger card.")
    if n_bytes > card.free_bytes:
        return Finding(check, LIMIT, found, "end what else uses the card (nvidia-smi names it).")
    return Finding(check, OK, found)


def _licence(name: str, asset: Asset) -> Iterator[Finding]:
    terms = verdict([ledger_entry(licence) for licence in asset.licences])
    found = f"{', '.join(asset.licences)}; publish: {terms.publish}, sell: {terms.sell}"
    if terms.sell == NO:
        fix = "headforge assets licences OUTPUT says which outputs carry it; don't sell those."
        yield Finding(f"licence of {name}", INFO, found, fix)
    else:
        yield Finding(f"licence of {name}", OK, found)


def _lies_there(store: Store, sha256: str) -> str:
    """Return the kind whose object of this source has a folder, complete or not; "" if there is none."""
    kinds: Mapping[str, str] = {name: asset_recipe(kind, sha256).key for name, kind in KINDS.items()}
    return next((name for name, key in kinds.items() if store.object_path(key).is_dir()), "")
