"""A valid file of each kind of asset in its official layout, and invalid replacements."""

from __future__ import annotations

import functools
import pickle
import tempfile
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from safetensors.torch import save_file

from headforge.flame.builtin.head import builtin_head
from headforge.flame.readers.ict_layout import IctLayout
from headforge.priors.lpips import linear_shapes, trunk_shapes
from tests.flame.foreign import N_EXPR, N_SHAPE, chumpy_pickle, flame_arrays, write_flame, write_ict
from tests.priors.diffusion_files import motion_tensors, single_tensors
from tests.priors.gan.nets import small_facts, small_gan, write_checkpoint


class Opener:
    """Creates a file when it is unpickled."""

    def __init__(self, victim: Path) -> None:
        self.victim = victim

    def __reduce__(self) -> tuple[object, ...]:
        return open, (str(self.victim), "w")


def sd15(folder: Path) -> list[Path]:
    save_file(single_tensors(), folder / "v1-5.safetensors")
    return [folder / "v1-5.safetensors"]


def animatediff(folder: Path) -> list[Path]:
    torch.save(motion_tensors(), folder / "mm_sd_v15_v2.ckpt")
    return [folder / "mm_sd_v15_v2.ckpt"]


def vae(folder: Path) -> list[Path]:
    prefix = "first_stage_model."
    tensors = {n.removeprefix(prefix): t for n, t in single_tensors().items() if n.startswith(prefix)}
    torch.save({"state_dict": tensors}, folder / "vae-ft-mse-840000-ema-pruned.ckpt")
    return [folder / "vae-ft-mse-840000-ema-pruned.ckpt"]


def lpips_alex(folder: Path) -> list[Path]:
    """The trunk first: it is the file that the tests spoil."""
    for name, shapes in (("alexnet.pth", trunk_shapes("alex")), ("alex.pth", linear_shapes("alex"))):
        torch.save({key: torch.full(shape, 0.01) for key, shape in shapes.items()}, folder / name)
    return [folder / "alexnet.pth", folder / "alex.pth"]


def mediapipe(folder: Path) -> list[Path]:
    with zipfile.ZipFile(folder / "face_landmarker.task", "w") as bundle:
        for name in ("face_detector.tflite", "face_landmarks_detector.tflite", "face_blendshapes.tflite"):
            bundle.writestr(name, b"\x1c\x00\x00\x00TFL3" + bytes(4000))
    return [folder / "face_landmarker.task"]


def flame(folder: Path) -> list[Path]:
    """As FLAME's, with the builtin head's topology and 300 identity components, most of them empty."""
    files = write_flame(folder)
    arrays = flame_arrays(builtin_head())
    shown = torch.from_numpy(arrays["shapedirs"]).float()
    padded = torch.zeros(*shown.shape[:2], FLAME_IDENTITIES + N_EXPR)
    padded[..., :N_SHAPE], padded[..., -N_EXPR:] = shown[..., :N_SHAPE], shown[..., -N_EXPR:]
    files.model.write_bytes(chumpy_pickle({**arrays, "shapedirs": padded.numpy()}))
    given = [files.model, files.landmarks, files.masks, files.template, files.left_eyelid, files.right_eyelid]
    return [path for path in given if path is not None]


def gan(kind: str, folder: Path) -> list[Path]:
    path = folder / f"{kind}-025000.pkl"
    write_checkpoint(path, small_gan(kind), small_facts(kind))
    return [path]


def ict(folder: Path) -> list[Path]:
    return [write_ict(folder / "FaceXModel").folder]


@functools.cache
def ict_layout() -> IctLayout:
    """Of the folder that `ict` writes."""
    with tempfile.TemporaryDirectory() as folder:
        return write_ict(Path(folder) / "FaceXModel").layout


FLAME_IDENTITIES = 300
WHOLE: Mapping[str, Callable[[Path], list[Path]]] = {
    "flame": flame,
    "ict": ict,
    "spherehead": lambda folder: gan("spherehead", folder),
    "panohead": lambda folder: gan("panohead", folder),
    "sd15": sd15,
    "animatediff": animatediff,
    "vae": vae,
    "lpips-alex": lpips_alex,
    "mediapipe": mediapipe,
}
"""Writes the files of a kind into a folder and returns the paths to add."""


def spoilt_file(paths: list[Path]) -> Path:
    """The file that the tests replace."""
    return paths[0] / "generic_neutral_mesh.obj" if paths[0].is_dir() else paths[0]


def spoil(path: Path, how: str, victim: Path) -> str:
    """Replace a file and return the expected part of the message."""
    data = path.read_bytes()
    torch_files = (".ckpt", ".pth", ".pkl")
    if how == "LFS pointer":
        path.write_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:0123\nsize 4265380512\n")
        return "Git LFS pointer"
    if how == "404 page":
        path.write_bytes(b"<!DOCTYPE html>\n<html><head><title>404 Not Found</title></head></html>\n")
        return "web page"
    if how == "404 text":
        path.write_bytes(b"404: Not Found")
        return str(path)
    if how == "truncated":
        path.write_bytes(data[: len(data) * 2 // 3])
        return str(path)
    if how == "empty":
        path.write_bytes(b"")
        return "is empty"
    if how == "gone":
        path.unlink()
        return ""
    if how == "wrong file":
        torch.save({"something.else": torch.zeros(3)}, path)
        return str(path)
    assert how in ("hostile pickle", "hostile checkpoint")
    if how == "hostile checkpoint" and path.suffix in torch_files:
        torch.save({"state_dict": {"a": torch.zeros(2)}, "x": Opener(victim)}, path)
    else:
        path.write_bytes(pickle.dumps({"state_dict": Opener(victim)}))
    return str(path)


SPOILT = (
    "LFS pointer", "404 page", "404 text", "truncated", "empty", "gone", "wrong file", "hostile pickle",
    "hostile checkpoint",
)  # fmt: skip
