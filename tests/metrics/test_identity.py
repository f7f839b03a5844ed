from __future__ import annotations

import numpy as np
import pytest

from headforge.metrics.identity import identity_distance
from tests.metrics.faces import FakeFaces


def test_the_distance_is_euclidean() -> None:
    found = identity_distance(FakeFaces(), np.full((64, 64, 3), 255, np.uint8), np.full((64, 64, 3), 204, np.uint8))
    assert found.value == pytest.approx(0.2 * 128**0.5, rel=1e-5)
    assert found.reason == ""


@pytest.mark.parametrize("order, which", [((0, 1), "first"), ((1, 0), "second")])
def test_no_face_is_a_reason_and_never_zero(order: tuple[int, int], which: str) -> None:
    a, b = (np.full((64, 64, 3), value, np.uint8) for value in order)
    found = identity_distance(FakeFaces(), a, b)
    assert found.value is None
    assert which in found.reason
