"""Small files that may hold anything: one reader for each kind, whose every fault is an error with the file's name.

Parquet's reader is `headforge.store.dataset.columns`, YAML's `flows.project.yaml_files`.
"""

from __future__ import annotations

import contextlib
import json
import math
import tomllib
import zipfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from headforge.errors import DataError, HeadforgeError

if TYPE_CHECKING:
    import numpy as np

MAX_TEXT_BYTES = 256 << 20
MAX_DEPTH = 200
MAX_ARCHIVE_BYTES = 1 << 30
"""Of all arrays of an npz together, unpacked."""
HELP = "make the file again, or give another one."
MAX_REASON = 200

Fault = Callable[[Path, str, str], HeadforgeError]
"""Makes an error of a path, a message and its help."""


@contextlib.contextmanager
def guarded(path: Path, kind: str, help: str = HELP, fault: Fault = DataError) -> Iterator[None]:
    """Turn whatever is raised inside into `fault`; errors of headforge's own pass."""
    try:
        yield
    except HeadforgeError:
        raise
    except Exception as error:  # parsers raise whatever a wrong byte leads to, MemoryError and RecursionError included
        raise fault(path, f"{path} is not {kind} ({_reason(error)}).", help) from error


def _reason(error: Exception) -> str:
    if isinstance(error, RecursionError):
        return "it is nested too deeply"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    words = " ".join(str(error).split()).encode(errors="backslashreplace").decode()
    return words[:MAX_REASON] or type(error).__name__


def read_text(path: Path) -> str:
    """Return a text of UTF-8. Raises ValueError if it is too long, and what reading raises."""
    if path.stat().st_size > MAX_TEXT_BYTES:
        raise ValueError(f"it has more than {MAX_TEXT_BYTES >> 20} MiB")
    return path.read_text(encoding="utf-8")


def read_json(path: Path, help: str = HELP, fault: Fault = DataError) -> Any:
    """Return the value in a JSON file. Raises `fault`."""
    with guarded(path, "readable JSON", help, fault):
        return parse_json(read_text(path))


def read_json_object(path: Path, help: str = HELP, fault: Fault = DataError) -> dict[str, Any]:
    """Return the object in a JSON file. Raises `fault`, for another value too."""
    found = read_json(path, help, fault)
    if not isinstance(found, dict):
        raise fault(path, f"{path} holds a {type(found).__name__}, expected a JSON object.", help)
    return found


def parse_json(text: str) -> Any:
    """Return the value of a JSON text. Raises ValueError, or RecursionError."""
    value = json.loads(text)
    if text.count("[") + text.count("{") > MAX_DEPTH and _depth(value) > MAX_DEPTH:
        raise ValueError(f"it is nested more than {MAX_DEPTH} deep")
    if "\\u" in text:
        json.dumps(value, ensure_ascii=False).encode()  # half a surrogate pair is no text that can be written
    return value


def _depth(value: object) -> int:
    level: list[object] = [value]
    depth = 0
    while level:
        depth += 1
        level = [inner for item in level for inner in _inside(item)]
    return depth


def _inside(value: object) -> Iterable[object]:
    return value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()


def read_toml(path: Path, help: str = HELP, fault: Fault = DataError) -> dict[str, Any]:
    """Return the tables of a TOML file. Raises `fault`."""
    with guarded(path, "readable TOML", help, fault):
        return tomllib.loads(read_text(path))


@contextlib.contextmanager
def open_safetensors(path: Path, framework: str = "pt", help: str = HELP, fault: Fault = DataError) -> Iterator[Any]:
    """Open a safetensors file; `fault` for whatever goes wrong in the block."""
    from safetensors import safe_open

    with guarded(path, "readable safetensors", help, fault), safe_open(path, framework=framework) as file:
        yield file


def read_npz(path: Path, help: str = HELP, fault: Fault = DataError) -> dict[str, np.ndarray]:
    """Return the arrays of an npz that need no pickle. Raises `fault`; the sizes are looked at before the data."""
    import numpy as np

    with guarded(path, "a readable npz file", help, fault):
        with zipfile.ZipFile(path) as archive:
            names = _plain_arrays(archive)
        with np.load(path, allow_pickle=False) as file:
            return {name: file[name] for name in file.files if name in names}


def _plain_arrays(archive: zipfile.ZipFile) -> set[str]:
    """Return names of the arrays without objects. Raises ValueError for entries that claim too much."""
    import numpy as np

    entries = archive.infolist()
    if sum(entry.file_size for entry in entries) > MAX_ARCHIVE_BYTES:
        raise ValueError(f"its arrays have more than {MAX_ARCHIVE_BYTES >> 20} MiB")
    plain = set()
    for entry in entries:
        with archive.open(entry) as file:
            version = np.lib.format.read_magic(file)
            read_header = {
                (1, 0): np.lib.format.read_array_header_1_0,
                (2, 0): np.lib.format.read_array_header_2_0,
            }[version]
            shape, _, dtype = read_header(file)
            if dtype.hasobject:
                continue
            if math.prod(shape) * max(dtype.itemsize, 1) > entry.file_size:
                raise ValueError(f"{entry.filename} claims an array of the shape {shape}, which it is too short for")
        plain.add(entry.filename.removesuffix(".npy"))
    return plain
