"""Tensors from files of other programs: safetensors and torch.save files, read without executing their content."""

from __future__ import annotations

import pickle
import re
import warnings
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from headforge.errors import InputError
from headforge.guarded import guarded
from headforge.pickles import ForbiddenNameError, check_downloaded
from headforge.store.files import sha256_file

ZIP_MAGIC = b"PK\x03\x04"
AGAIN = "download the file again and compare its size with the publisher's."
MAX_PACKING = 4
MIN_UNPACKED_BYTES = 64 << 20
"""torch.save does not compress; an archive of more than both is no file of weights."""
MAX_NAMED = 4
"""Number of tensors named in a message."""

Shapes = Mapping[str, tuple[int, ...]]
"""Shape of each tensor that a file must have, by name."""


class TorchScriptError(InputError):
    """The file is a TorchScript archive, a program, and was not marked as trusted."""

    def __init__(self, path: Path, sha256: str, trust: str) -> None:
        given = f" --trust names another file, {trust[:12]}…" if trust else ""
        super().__init__(
            path,
            f"'{path}' is a TorchScript archive, a program that runs on loading. Its SHA-256: {sha256}.{given}",
            f"give the plain weights; or, if you trust the source, repeat the command with --trust {sha256}",
        )
        self.sha256 = sha256


class _LeftOut:
    """Placeholder for a class that training programs store in checkpoints beside the weights."""


_TRAINING_CLASSES: list[Callable[..., object] | tuple[Callable[..., object], str]] = [
    (_LeftOut, "pytorch_lightning.callbacks.model_checkpoint.ModelCheckpoint"),
    (_LeftOut, "pytorch_lightning.callbacks.early_stopping.EarlyStopping"),
]


def read_tensors(path: Path, trust: str = "") -> dict[str, Tensor]:
    """Read the tensors of a file, on the CPU, by name; of a training checkpoint those under `state_dict`.

    `trust`: SHA-256 of a trusted TorchScript archive. Raises TorchScriptError without it, ForbiddenNameError for a
    checkpoint that names classes other than torch's own, and InputError for any other invalid file.
    """
    head = check_downloaded(path)
    if head.startswith(ZIP_MAGIC):
        _check_archive(path, trust)
        if trust:
            with guarded(path, "a readable TorchScript archive", AGAIN, InputError):
                return _plain_tensors(path, torch.jit.load(path, map_location="cpu").state_dict())
        return _plain_tensors(path, _read_torch(path))
    if head[8:9] == b"{" and int.from_bytes(head[:8], "little") < path.stat().st_size:
        return _read_safetensors(path)
    return _plain_tensors(path, _read_torch(path))


def check_tensors(path: Path, tensors: Mapping[str, Tensor], shapes: Shapes, what: str) -> dict[str, Tensor]:
    """Return the tensors named in `shapes`. Raises InputError if one is missing, has another shape or is not finite."""
    missing = [name for name in shapes if name not in tensors]
    if missing:
        found = f"it has {len(tensors)} others, such as {_named(list(tensors))}" if tensors else "it has none"
        raise InputError(
            path,
            f"'{path}' does not hold the {what}: it lacks {len(missing)} of {len(shapes)} tensors, "
            f"{_named(missing)}; {found}.",
            f"give the file that holds the {what}.",
        )
    for name, shape in shapes.items():
        if tuple(tensors[name].shape) != tuple(shape):
            raise InputError(
                path,
                f"'{path}' does not hold the {what}: {name} has the shape {list(tensors[name].shape)}, "
                f"expected {list(shape)}.",
                f"give the file that holds the {what}; other versions and sizes of it don't fit.",
            )
        if tensors[name].is_floating_point() and not bool(torch.isfinite(tensors[name]).all()):
            raise InputError(path, f"{name} in '{path}' has values that are not finite.", AGAIN)
    return {name: tensors[name] for name in shapes}


def save_tensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write tensors as safetensors; the bytes depend on names and values only."""
    save_file({name: tensors[name].detach().clone().contiguous() for name in sorted(tensors)}, path)


def _check_archive(path: Path, trust: str) -> None:
    with guarded(path, "a readable archive of weights", AGAIN, InputError), zipfile.ZipFile(path) as archive:
        names = archive.namelist()
        n_bytes = sum(entry.file_size for entry in archive.infolist())
    if n_bytes > max(MAX_PACKING * path.stat().st_size, MIN_UNPACKED_BYTES):
        message = f"'{path}' would unpack to {n_bytes >> 20} MiB, far more than weights of its size hold."
        raise InputError(path, message, AGAIN)
    if any(name.endswith("/constants.pkl") or "/code/" in name for name in names):
        sha256 = sha256_file(path)
        if trust != sha256:
            raise TorchScriptError(path, sha256, trust)
    elif not any(name.endswith("/data.pkl") for name in names):
        raise InputError(path, f"'{path}' is an archive of {_named(names)}, not of weights.", "unpack it first.")
    elif trust:
        raise InputError(path, f"'{path}' is not a TorchScript archive.", "omit --trust: nothing in it is executed.")


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    with guarded(path, "readable safetensors", AGAIN, InputError):
        return load_file(path)


def _read_torch(path: Path) -> object:
    try:
        with torch.serialization.safe_globals(_TRAINING_CLASSES), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # deprecated storages in files of old versions
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        named = re.search(r"GLOBAL ([\w.]+)", str(error))
        if named:
            raise ForbiddenNameError(path, named[1]) from error
        raise _unreadable(path, error) from error
    except Exception as error:  # corrupt bytes make torch raise arbitrary exceptions
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: Exception) -> InputError:
    reason = (str(error).splitlines() or [type(error).__name__])[0][:120]
    return InputError(path, f"'{path}' is not a weight file, or is incomplete ({reason}).", AGAIN)


def _plain_tensors(path: Path, content: object) -> dict[str, Tensor]:
    if isinstance(content, Mapping) and isinstance(content.get("state_dict"), Mapping):
        content = content["state_dict"]
    if not isinstance(content, Mapping):
        raise InputError(path, f"'{path}' holds a {type(content).__name__}, not weights by name.", AGAIN)
    return {str(name): value.detach() for name, value in content.items() if isinstance(value, Tensor)}


def _named(names: list[str]) -> str:
    more = f" and {len(names) - MAX_NAMED} more" if len(names) > MAX_NAMED else ""
    return ", ".join(names[:MAX_NAMED]) + more
