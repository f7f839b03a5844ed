"""The core imports without the optional packages, and pulls none of them in."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
OPTIONAL = (
    "prefect", "dvc", "mlflow", "yaml", "ruamel", "pydantic", "dask", "distributed", "gsplat", "viser", "dlib",
    "diffusers", "face_recognition_models", "imageio", "torchvision",
)  # fmt: skip
NEEDS_DIFFUSERS = "headforge.diffusion"

PROBE = """
import importlib, pkgutil, sys
class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {blocked!r}:
            raise ImportError(name + " is blocked")
sys.meta_path.insert(0, Blocker())
import headforge
for module in pkgutil.walk_packages(headforge.__path__, "headforge."):
    if not module.name.startswith({skipped!r}):
        importlib.import_module(module.name)
"""


def test_core_modules_import_without_optional_packages() -> None:
    probe = PROBE.format(blocked=set(OPTIONAL), skipped=NEEDS_DIFFUSERS)
    done = subprocess.run([sys.executable, "-c", probe], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_default_engine_comes_without_dask() -> None:
    probe = "import sys, tasks.engines.profiles; print([m for m in ('dask', 'distributed') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", probe], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_driver_asks_dvc_before_it_imports_prefect_torch_or_mlflow() -> None:
    probe = "import sys, flows.cli; print([m for m in ('prefect', 'torch', 'mlflow', 'dvc') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", probe], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_stages_that_draw_no_networks_do_not_import_diffusers() -> None:
    probe = (
        "import sys, flows.synthesize, flows.track, flows.project.params;"
        "print([m for m in ('diffusers', 'matplotlib.pyplot') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", probe], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
