from __future__ import annotations

import hashlib

from hypothesis import given
from hypothesis import strategies as st

from headforge.geometry.seeding import item_seed

parts = st.lists(st.one_of(st.integers(-(10**9), 10**9), st.text(max_size=8)), max_size=4)


@given(st.integers(0, 2**31), parts)
def test_a_seed_is_63_bits_and_always_the_same(seed: int, names: list[str | int]) -> None:
    found = item_seed(seed, *names)
    assert 0 <= found < 2**63
    assert found == item_seed(seed, *names)


@given(st.integers(0, 9), parts, st.integers(0, 9), parts)
def test_other_parts_give_another_seed(a: int, names_a: list[str | int], b: int, names_b: list[str | int]) -> None:
    if (a, names_a) != (b, names_b):
        assert item_seed(a, *names_a) != item_seed(b, *names_b)


def test_types_and_borders_of_parts_count() -> None:
    assert (
        len({item_seed(0, "1"), item_seed(0, 1), item_seed(0, "1", ""), item_seed(0, "a", "b"), item_seed(0, "ab")})
        == 5
    )


def test_a_seed_is_the_same_for_ever() -> None:
    expected = int.from_bytes(hashlib.sha256(b"5|int:0" + b"6|str:ab" + b"5|int:7").digest()[:8], "big") >> 1
    assert item_seed(0, "ab", 7) == expected
