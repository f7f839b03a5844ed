from __future__ import annotations

import os

import pytest

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS"):
    os.environ.setdefault(_name, "1")


@pytest.fixture(autouse=True)
def _own_home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test touches the user's store or databases."""
    monkeypatch.setenv("HEADFORGE_HOME", str(tmp_path_factory.mktemp("home")))
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
