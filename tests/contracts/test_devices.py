"""Every module that computes with torch is in a table of a test_device.py, or is named here with its reason."""

from __future__ import annotations

import importlib
import pkgutil
from types import ModuleType

import headforge

PACKAGES = ("geometry", "flame", "render", "diffusion", "avatar", "priors", "metrics", "track")
FILES = "reads or writes files; its tensors are moved by who asked"
FITS = "fits photos, films or views on the processor: detectors and the solver's kernels run there"
OTHERS = {
    "avatar.export": FILES,
    "flame.files": FILES,
    "flame.readers.flame_files": FILES,
    "flame.readers.ict": FILES,
    "flame.readers.official": FILES,
    "priors.faces.face_alignment_faces": "the detector's own device is an argument; it takes and gives arrays",
    "priors.gan.checkout": "tested with the official code's double, beside the other generators",
    "priors.tensor_files": FILES,
    "render.splatting.scratch": "buffers of the processor's kernels",
    **{
        f"track.{name}": FITS
        for name in (
            "crop", "detected_fit", "mattes.film_views", "mattes.photo_matte", "observe", "overlay",
            "photo.aligned_crop", "photo.fit", "photo.photo", "photometric.tracks", "quality",
            "video.chain", "video.fit", "video.overlay", "video.pose", "video.solver", "video.twin",
            "views.camera_check", "views.known", "views.views",
        )
    },
}  # fmt: skip


def computing_modules() -> set[str]:
    """Return the modules of the packages that import torch for more than types."""
    found = set()
    for package in PACKAGES:
        for module in pkgutil.walk_packages([f"{headforge.__path__[0]}/{package}"], f"headforge.{package}."):
            if not module.ispkg and "torch" in vars(importlib.import_module(module.name)):
                found.add(module.name.removeprefix("headforge."))
    return found


def modules_in_tables() -> set[str]:
    """Return the modules that the tables of `tests/PACKAGE/test_device.py` name."""
    found = set()
    for package in PACKAGES:
        tests = importlib.import_module(f"tests.{package}.test_device")
        for value in vars(tests).values():
            if isinstance(value, ModuleType) and value.__name__.startswith("headforge."):
                found.add(value.__name__.removeprefix("headforge."))
            elif getattr(value, "__module__", "").startswith("headforge."):
                found.add(value.__module__.removeprefix("headforge."))
    return found


def test_no_module_is_left_out() -> None:
    left_out = computing_modules() - modules_in_tables() - set(OTHERS)
    assert not left_out, "put their entry points into the table of calls of their package's test_device.py"


def test_reasons_are_about_modules_that_are_there() -> None:
    assert set(OTHERS) <= computing_modules()
    assert not set(OTHERS) & modules_in_tables()
