"""Which values settings may have, how others are refused, and which settings a recipe names."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass, field

import pytest

from headforge.errors import ConfigError
from headforge.settings import ADDED, Allowed, check_settings, params_of, require, setting

NAN, INF = math.nan, math.inf


@dataclass(frozen=True)
class Config:
    size: int = 8
    layout: int = 3
    domain: str = field(default="real", metadata=ADDED)


@dataclass(frozen=True)
class Checked:
    size: int = setting(8, at_least=1, at_most=4096)
    share: float = setting(0.5, above=0, below=1)
    rate: float = setting(0.1, above=0, at_most=10)
    pitches: tuple[float, ...] = setting((0.0, 1.5), at_least=-90, at_most=90)
    domain: str = setting("real", one_of=("real", "synthetic"))
    offset: float = 0.0
    is_on: bool = setting(False, at_least=5)
    name: str = setting("", added=True)

    def __post_init__(self) -> None:
        check_settings(self, "checked")
        require(self, "checked", "size", self.size % 2 == 0, "an even number")


@pytest.mark.parametrize(
    ("allowed", "fine", "bad"),
    [
        (Allowed(), (0, -1e300, 10**400), (NAN, INF, -INF)),
        (Allowed(at_least=2, at_most=4), (2, 4, 3.5), (1, 4.5, NAN, INF, -INF, 10**400)),
        (Allowed(above=0, below=1), (1e-9, 0.5), (0, 1, -0.0, NAN, INF)),
        (Allowed(at_least=0), (0, 1e308), (-1e-9, INF)),
        (Allowed(at_most=0), (0, -(10**400)), (1, -INF)),
        (Allowed(at_least=1, at_most=2), ((), (1, 2), ((1,), 2)), ((1, 3), (NAN,), ((0,), 1))),
        (Allowed(one_of=("a", "b")), ("a", "b", ("a", "b")), ("c", "", None, 1, ("a", "c"))),
        (Allowed(one_of=(1, 2, 4)), (1, 4), (3, NAN)),
    ],
)
def test_allowed_values(allowed: Allowed, fine: tuple[object, ...], bad: tuple[object, ...]) -> None:
    assert [value for value in fine if not allowed.includes(value)] == []
    assert [value for value in bad if allowed.includes(value)] == []


def test_what_is_no_number_has_no_bounds() -> None:
    assert all(Allowed(at_least=5).includes(value) for value in (False, True, "", "nan", None))


@pytest.mark.parametrize(
    ("allowed", "text"),
    [
        (Allowed(), "finite"),
        (Allowed(at_least=16, at_most=2048), "between 16 and 2048"),
        (Allowed(at_least=0, at_most=0.1), "between 0 and 0.1"),
        (Allowed(at_least=0, at_most=2**63 - 1), "between 0 and 9223372036854775807"),
        (Allowed(at_least=1, at_most=1_000_000), "between 1 and 1000000"),
        (Allowed(above=0, below=120), "above 0 and below 120"),
        (Allowed(above=0, at_most=10), "above 0 and at most 10"),
        (Allowed(at_least=0, below=1), "at least 0 and below 1"),
        (Allowed(at_least=2), "at least 2"),
        (Allowed(at_most=1.5), "at most 1.5"),
        (Allowed(one_of=("local", "dask")), "one of local, dask"),
        (Allowed(one_of=(1, 2)), "one of 1, 2"),
    ],
)
def test_allowed_values_in_words(allowed: Allowed, text: str) -> None:
    assert str(allowed) == text


def test_defaults_and_metadata_of_a_setting() -> None:
    fields = {item.name: item for item in dataclasses.fields(Checked)}
    assert Checked() == Checked(8, 0.5, 0.1, (0.0, 1.5), "real", 0.0, False, "")
    assert fields["size"].metadata == {"allowed": Allowed(at_least=1, at_most=4096)}
    assert fields["name"].metadata == {"allowed": Allowed(), **ADDED}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("size", 0), ("size", 4098), ("size", 7), ("share", 0.0), ("share", 1.0), ("rate", NAN), ("rate", 10.5),
        ("pitches", (0.0, 91.0)), ("pitches", (NAN,)), ("domain", "painted"), ("offset", NAN), ("offset", -INF),
    ],
)  # fmt: skip
def test_values_out_of_range_are_refused_by_name(name: str, value: object) -> None:
    with pytest.raises(ConfigError) as error:
        Checked(**{name: value})  # type: ignore[arg-type]
    assert error.value.key == f"checked.{name}"
    assert error.value.found is value


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("size", 5000, "checked.size is 5000, it must be between 1 and 4096.\n"
         "help: set checked.size to a value that is between 1 and 4096."),
        ("size", 7, "checked.size is 7, it must be an even number.\n"
         "help: set checked.size to a value that is an even number."),
        ("share", NAN, "checked.share is nan, it must be above 0 and below 1.\n"
         "help: set checked.share to a value that is above 0 and below 1."),
        ("pitches", (0.0, 91.0), "checked.pitches is (0.0, 91.0), it must be between -90 and 90.\n"
         "help: set checked.pitches to a value that is between -90 and 90."),
        ("domain", "painted", "checked.domain is 'painted', it must be one of real, synthetic.\n"
         "help: set checked.domain to a value that is one of real, synthetic."),
        ("offset", INF, "checked.offset is inf, it must be finite.\n"
         "help: set checked.offset to a value that is finite."),
    ],
)  # fmt: skip
def test_message_of_a_refusal(name: str, value: object, text: str) -> None:
    with pytest.raises(ConfigError) as error:
        Checked(**{name: value})  # type: ignore[arg-type]
    assert str(error.value) == text


def test_a_setting_that_came_later_is_left_out_at_its_default() -> None:
    assert params_of(Config()) == {"size": 8, "layout": 3}
    assert params_of(Config(domain="synthetic")) == {"size": 8, "layout": 3, "domain": "synthetic"}
    assert "name" not in params_of(Checked()) and params_of(Checked(name="x"))["name"] == "x"


def test_settings_that_change_no_result_are_left_out() -> None:
    assert params_of(Config(size=9), without=("layout",)) == {"size": 9}
