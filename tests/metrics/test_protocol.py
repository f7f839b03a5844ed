from __future__ import annotations

import dataclasses

from headforge.metrics.protocol import Protocol


def test_any_other_field_gives_another_hash() -> None:
    base = Protocol("psnr", "headforge")
    hashes = {base.hash}
    for field in dataclasses.fields(Protocol):
        value = 7 if isinstance(getattr(base, field.name), int) else "other"
        hashes.add(dataclasses.replace(base, **{field.name: value}).hash)
    assert len(hashes) == len(dataclasses.fields(Protocol)) + 1


def test_equal_protocols_have_equal_hashes() -> None:
    assert Protocol("psnr", "headforge", resolution_px=64).hash == Protocol("psnr", "headforge", resolution_px=64).hash
