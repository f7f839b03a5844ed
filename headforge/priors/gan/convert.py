"""Official checkpoints of SphereHead and PanoHead, read without executing their content.

A checkpoint is a pickle of {G, D, G_ema, ...}: objects of `torch_utils.persistence`, which carry the source text of
their classes. Only the names, shapes and values of `G_ema` and its constructor arguments are read.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from headforge.errors import InputError
from headforge.pickles import Holder, as_dict, as_persistent, read_pickle
from headforge.priors.gan.layers import smoothing_filter
from headforge.priors.gan.model import HeadGan
from headforge.priors.gan.settings import HELP, KINDS, read_settings

GENERATOR = "G_ema"
CLASS_NAME = "TriPlaneGenerator"
POSITIONAL = ("z_dim", "c_dim", "w_dim", "img_resolution", "img_channels")
"""Positional arguments of its constructor."""
PERSISTENT = {("torch_utils.persistence", "_reconstruct_persistent_obj"): as_persistent}
DICTS = {("dnnlib.util", "EasyDict"): as_dict}
PREFIXES = ("torch.nn.modules.", "training.", "torch_utils.", "dnnlib.")
"""Classes of which only the attributes are read."""
MAX_NAMED = 5


def convert_gan(path: Path, kind: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return weights by official name and JSON facts of a checkpoint of the `kind` "spherehead" or "panohead".

    The facts are `kind`, `class_name`, `init_kwargs`, `rendering_kwargs` and `neural_rendering_resolution`. Raises
    InputError for a file that is not such a checkpoint, and for weights that are missing, unknown or of another shape.
    """
    if kind not in KINDS:
        raise ValueError(f"{kind} is not one of {KINDS}")
    content = read_pickle(path, {**PERSISTENT, **DICTS}, prefixes=PREFIXES)
    generator = content.get(GENERATOR) if isinstance(content, dict) else None
    if not isinstance(generator, Holder) or generator.class_name.rpartition(".")[2] != CLASS_NAME:
        found = f"the keys {', '.join(map(str, content))}" if isinstance(content, dict) else type(content).__name__
        found = f"{GENERATOR} is a {generator.class_name}" if isinstance(generator, Holder) else f"it has {found}"
        raise InputError(path, f"{path} is not a checkpoint of {kind}: {found}, not a {CLASS_NAME} {GENERATOR}.", HELP)
    tensors = {name: tensor.contiguous() for name, tensor in _tensors(generator)}
    facts = _facts(generator, kind)
    check_weights(tensors, facts, str(path))
    return tensors, facts


def load_gan(tensors: Mapping[str, Tensor], facts: Mapping[str, Any], source: str = "the generator") -> HeadGan:
    """Build the generator with these weights, on the CPU, for inference. Raises InputError if they don't fit."""
    check_weights(tensors, facts, source)
    with torch.device("meta"):
        model = HeadGan(read_settings(str(facts.get("kind")), facts, source))
    model.load_state_dict(dict(tensors), strict=True, assign=True)
    return model.eval().requires_grad_(False)


def check_weights(tensors: Mapping[str, Tensor], facts: Mapping[str, Any], source: str) -> None:
    """Raise InputError unless names and shapes match the facts and the filters are the usual ones."""
    kind = str(facts.get("kind"))
    other = "spherehead" if "ConvA.0.weight" in tensors else "panohead"
    if kind != other:
        help = f"add it as {other}: headforge assets add {other} {source}"
        raise InputError(source, f"{source} is a checkpoint of {other}, not of {kind}.", help)
    with torch.device("meta"):
        wanted = HeadGan(read_settings(kind, facts, source)).state_dict()
    missing, extra = sorted(wanted.keys() - tensors.keys()), sorted(tensors.keys() - wanted.keys())
    if missing or extra:
        parts = [f"{what} {_named(names)}" for what, names in (("lacks", missing), ("has unknown", extra)) if names]
        raise InputError(source, f"{source} {' and '.join(parts)}.", HELP)
    for name, tensor in wanted.items():
        if tensors[name].shape != tensor.shape:
            shapes = f"{list(tensors[name].shape)}, its settings ask for {list(tensor.shape)}"
            raise InputError(source, f"{name} of {source} has the shape {shapes}.", HELP)
        if name.endswith("resample_filter") and not torch.allclose(
            tensors[name], smoothing_filter(tensors[name].device), atol=1e-6
        ):
            raise InputError(source, f"{name} of {source} is another filter than [1, 3, 3, 1].", HELP)
        if not bool(torch.isfinite(tensors[name]).all()):
            raise InputError(source, f"{name} of {source} has values that are not finite.", "download it again.")


def _named(names: list[str]) -> str:
    more = f" and {len(names) - MAX_NAMED} more" if len(names) > MAX_NAMED else ""
    return ", ".join(names[:MAX_NAMED]) + more


def _tensors(module: Holder, prefix: str = "") -> Iterator[tuple[str, Tensor]]:
    """Yield parameters and buffers of a module and its submodules, float32, with their `state_dict` names."""
    state = module.state if isinstance(module.state, dict) else {}
    for group in ("_parameters", "_buffers"):
        for name, value in _entries(state.get(group)):
            if isinstance(value, Tensor):
                yield prefix + name, value.float()
    for name, value in _entries(state.get("_modules")):
        if isinstance(value, Holder):
            yield from _tensors(value, f"{prefix}{name}.")


def _entries(group: object) -> Iterator[tuple[str, object]]:
    if isinstance(group, dict):
        yield from ((str(name), value) for name, value in group.items())


def _facts(generator: Holder, kind: str) -> dict[str, Any]:
    state = generator.state if isinstance(generator.state, dict) else {}
    kwargs = {**dict(zip(POSITIONAL, generator.args, strict=False)), **generator.kwargs}
    rendering = state.get("rendering_kwargs", kwargs.get("rendering_kwargs"))
    return {
        "kind": kind,
        "class_name": CLASS_NAME,
        "init_kwargs": _plain({name: value for name, value in kwargs.items() if name != "rendering_kwargs"}),
        "rendering_kwargs": _plain(rendering),
        "neural_rendering_resolution": _plain(state.get("neural_rendering_resolution")),
    }


def _plain(value: object) -> Any:
    """Return a value that JSON can represent; None for anything else."""
    if isinstance(value, Mapping):
        return {str(name): _plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if hasattr(value, "item") and not isinstance(value, Tensor):
        return value.item()  # pyright: ignore[reportAttributeAccessIssue]
    return value if isinstance(value, bool | int | float | str) else None
