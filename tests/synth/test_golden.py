"""What the generator draws today: a change that can be seen must come with another `VERSION`."""

from __future__ import annotations

import numpy as np
import pytest

from headforge.store.images import area_resize
from headforge.synth.builtin.subject import prepare_subject
from headforge.synth.config import SynthesizeConfig
from headforge.synth.synthesize import VERSION, synthesize_view

GOLDEN_VERSION = 2
GOLDEN = {
    (0, 0, "short"): (
        "fffffffffffffffffffefefeffffffffffffffffffffffffffffffffffffb8b7b634302f3c3836c0bebeffffffffffff"
        "ffffffffffff7e746ee1c3a9f5ddc3aa9e96ffffffffffffffffffffffffcdb8a8a9907dc1a995e2cebfffffffffffff"
        "ffffffffffffdec3b1d5b39be3c4adf7dfceffffffffffffffffffffffffebe4df9a8071a18578e9dfd8ffffffffffff"
        "ffffffffffffede2da9f8777b09788f8f0e9ffffffffffffffffffe5e8ed737b8a9a8e8baba19f828fa3eef1f5ffffff"
    ),
    (4, 6, "long"): (
        "ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffebe3d9b5966bb89a70ece6ddffffffffffff"
        "ffffffffffffc3aa86b99562b28f5ec3ab8bfffffffffffffffffffdfcfbb09062d5b288e4c09db79871ffffffffffff"
        "fffffff8f5f2ae8d6cdcbaa2e5c1a7ab8e74fdfcfbffffffffffffffffff9f8c7bd4ae98e1b8a1ccb7a9ffffffffffff"
        "fffffffcfbfc866c7baa8786bf988eb2a3afffffffffffffffffffffffffffffffe1dbe2e1dce2ffffffffffffffffff"
    ),
}
"""Subject, view and hair: the 64 px picture averaged down to 8 x 8, as hexadecimal RGB bytes."""


@pytest.mark.parametrize("item", GOLDEN)
def test_pictures_are_those_of_this_version(item: tuple[int, int, str]) -> None:
    assert VERSION == GOLDEN_VERSION, "store the new pictures here"
    subject, view, hair = item
    config = SynthesizeConfig(image_size=64)
    sample = synthesize_view(config, prepare_subject(config.seed, subject, config.long_hair_share), view)
    found = area_resize(sample.image, 8).astype(int)
    stored = np.frombuffer(bytes.fromhex(GOLDEN[item]), np.uint8).reshape(8, 8, 3).astype(int)
    assert sample.attributes["hair"] == hair
    assert np.abs(found - stored).mean() < 0.5
    assert np.abs(found - stored).max() <= 6
