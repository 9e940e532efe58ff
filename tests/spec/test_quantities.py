"""Quantities are exact, keep their unit, and print as a person writes them."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from specc.spec.quantities import BatchSize, Bytes, Duration, Percent, Quantity, Rate, Time, Warmup, quantity


@pytest.mark.parametrize(
    ("text", "amount", "unit"),
    [
        ("2T tokens", 2 * 10**12, "tokens"),
        ("4Mi tokens", 4 * 2**20, "tokens"),
        ("1 token", 1, "tokens"),
        ("1.5K sequences", 1500, "sequences"),
        ("2.5e3 steps", 2500, "steps"),
        ("3 epochs", 3, "epochs"),
        ("0.5%", Fraction(1, 2), "%"),
        ("80 GiB", 80 * 2**30, "bytes"),
        ("450 GB/s", 450 * 10**9, "bytes/s"),
        ("48h", 48 * 3600, "seconds"),
        ("90 min", 5400, "seconds"),
    ],
)
def test_a_quantity_is_exact(text: str, amount: object, unit: str) -> None:
    found = quantity(text)
    assert (found.amount, found.unit) == (amount, unit)


@given(
    st.integers(1, 10**6),
    st.sampled_from(["", "K", "M", "B", "T", "Ki", "Mi", "Gi"]),
    st.sampled_from(["tokens", "sequences", "steps", "epochs"]),
)
def test_what_is_printed_reads_back_equal(number: int, prefix: str, unit: str) -> None:
    found = quantity(f"{number}{prefix} {unit}")
    assert quantity(str(found)) == found


def test_no_warm_up_can_be_written() -> None:
    found: Quantity = TypeAdapter(Warmup).validate_python("0 steps")
    assert found.amount == 0


@pytest.mark.parametrize(
    ("kind", "value", "error"),
    [
        (Duration, 2000, "quantity_unit"),
        (Duration, "2000", "quantity_unit"),
        (Duration, "2000 GiB", "quantity_unit"),
        (Duration, "soon", "quantity"),
        (Duration, True, "quantity"),
        (Duration, None, "quantity"),
        (Duration, "0 steps", "quantity_positive"),
        (Duration, "1.5 steps", "quantity_whole"),
        (BatchSize, "3 steps", "quantity_unit"),
        (Bytes, "5%", "quantity_unit"),
        (Percent, "5", "quantity_unit"),
        (Rate, "5 GB", "quantity_unit"),
        (Time, "2 weeks", "quantity_unit"),
        (Duration, "1e99999999999 steps", "quantity"),
        (Duration, "1e50 steps", "quantity_range"),
        (Duration, "0.5 tokens", "quantity_whole"),
        (BatchSize, "1e9T tokens", "quantity_range"),
        (Percent, "100%", "quantity_range"),
        (Time, "1s", "quantity_range"),
    ],
)
def test_what_is_no_such_quantity_is_refused(kind: object, value: object, error: str) -> None:
    with pytest.raises(ValidationError) as caught:
        TypeAdapter(kind).validate_python(value)
    assert caught.value.errors()[0]["type"] == error
