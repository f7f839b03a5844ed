"""`headforge inspect PATH`: the content of a file or folder, as plain values."""

from __future__ import annotations

from pathlib import Path

from headforge.errors import InputError
from headforge.guarded import guarded, open_safetensors, read_json
from headforge.store.dataset.columns import open_parquet
from headforge.store.images import read_photo

DESCRIPTIONS = ("dataset.json", "tracks.json", "model.json", "avatar.json", "metrics.json")
"""Files that describe their folder."""
PICTURES = (".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff")


def describe(path: Path) -> dict[str, object]:
    """Return the kind and content of a file or folder written by headforge, or of a photo."""
    if not path.exists():
        raise InputError(path, f"there is no {path}.", "name a file or folder that exists.")
    if path.is_dir():
        return _folder(path)
    suffix = path.suffix.lower()
    if suffix == ".parquet":
        return _parquet(path)
    if suffix == ".safetensors":
        return _safetensors(path)
    if suffix == ".json":
        return {"kind": "json", "path": str(path), "content": read_json(path)}
    if suffix in PICTURES:
        height, width = read_photo(path).shape[:2]
        return {"kind": "picture", "path": str(path), "width": width, "height": height}
    return {"kind": "file", "path": str(path), "n_bytes": path.stat().st_size}


def _folder(path: Path) -> dict[str, object]:
    described = next((path / name for name in DESCRIPTIONS if (path / name).is_file()), None)
    files = sorted(item for item in path.rglob("*") if item.is_file())
    return {
        "kind": described.stem if described else "folder",
        "path": str(path),
        "n_files": len(files),
        "n_bytes": sum(item.stat().st_size for item in files),
        "content": read_json(described) if described else sorted(item.name for item in path.iterdir()),
    }


def _parquet(path: Path) -> dict[str, object]:
    with open_parquet(path) as file, guarded(path, "a readable Parquet file"):
        return {
            "kind": "table",
            "path": str(path),
            "n_rows": file.metadata.num_rows,
            "n_row_groups": file.num_row_groups,
            "columns": {field.name: str(field.type) for field in file.schema_arrow},
        }


def _safetensors(path: Path) -> dict[str, object]:
    with open_safetensors(path, "np") as file:
        shapes = {name: list(file.get_slice(name).get_shape()) for name in file.keys()}
        return {"kind": "tensors", "path": str(path), "metadata": dict(file.metadata() or {}), "tensors": shapes}
