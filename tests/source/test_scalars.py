"""Scalars mean what YAML 1.2's core schema says, not what 1.1 said."""

import math

import pytest

from specc.source.scalars import resolve


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("no", "no"),
        ("yes", "yes"),
        ("on", "on"),
        ("true", True),
        ("False", False),
        ("~", None),
        ("", None),
        ("12:30", "12:30"),
        ("1_000", "1_000"),
        ("017", 17),
        ("0o17", 15),
        ("0xFF", 255),
        ("-3", -3),
        ("3e-4", 3e-4),
        ("1.0e-5", 1e-5),
        (".5", 0.5),
        ("1.", 1.0),
        ("2T tokens", "2T tokens"),
        ("2026-01-01", "2026-01-01"),
        ("9" * 5000, "9" * 5000),
    ],
)
def test_a_plain_scalar(text: str, value: object) -> None:
    found = resolve(text)
    assert found == value
    assert type(found) is type(value)


def test_infinities_and_nan() -> None:
    assert resolve("-.inf") == -math.inf
    nan = resolve(".nan")
    assert isinstance(nan, float)
    assert math.isnan(nan)
