"""Which settings a recipe names."""

from __future__ import annotations

from dataclasses import dataclass, field

from headforge.settings import ADDED, params_of


@dataclass(frozen=True)
class Config:
    size: int = 8
    layout: int = 3
    domain: str = field(default="real", metadata=ADDED)


def test_a_setting_that_came_later_is_left_out_at_its_default() -> None:
    assert params_of(Config()) == {"size": 8, "layout": 3}
    assert params_of(Config(domain="synthetic")) == {"size": 8, "layout": 3, "domain": "synthetic"}


def test_settings_that_change_no_result_are_left_out() -> None:
    assert params_of(Config(size=9), without=("layout",)) == {"size": 9}
