"""Quantities are exact, keep their unit, and print as a person writes them."""

from __future__ import annotations

import re
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from specc.spec import quantities
from specc.spec.quantities import (
    BatchSize,
    Bytes,
    Duration,
    LearningRateScale,
    Percent,
    Quantity,
    Rate,
    Time,
    Warmup,
    quantity,
)


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
        ("0.1x", Fraction(1, 10), "x"),
        ("1e-2x", Fraction(1, 100), "x"),
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


@pytest.mark.parametrize(("text", "printed"), [("0.1x", "0.1x"), ("0.10 x", "0.1x"), ("2x", "2x"), ("1e-2x", "0.01x")])
def test_a_scale_is_printed_as_a_person_writes_it(text: str, printed: str) -> None:
    assert str(TypeAdapter(LearningRateScale).validate_python(text)) == printed


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
        (LearningRateScale, 0.1, "quantity_unit"),
        (LearningRateScale, "10%", "quantity_unit"),
        (LearningRateScale, "0x", "quantity_positive"),
        (Duration, "2x", "quantity_unit"),
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


MARKED = {
    name: (found, TypeAdapter(found).json_schema())
    for name, found in vars(quantities).items()
    if isinstance(found, type(Duration)) and isinstance(getattr(found, "__metadata__", (None,))[0], quantities.Units)
}
NUMBERS = st.one_of(
    st.from_regex(r"[0-9]{1,3}(\.[0-9]{0,2})?([eE][+-]?[0-9]{1,3})?", fullmatch=True),
    st.text("0123456789.eE+-_ ", max_size=6),
)
BLANKS = st.sampled_from(["", " ", "  ", "\t", "\n", "\u00a0", "_"])
PIECES = st.sampled_from(
    ["K", "M", "Ki", "Gi", "m", "token", "tokens", "Tokens", "step", "steps", "sequence", "epochs", "%", "B",
     "GB", "GiB", "GB/s", "/s", "s", "min", "h", "d", "x", " ", "  "]
)  # fmt: skip
WRITTEN = st.builds(
    lambda left, number, blank, pieces, right: f"{left}{number}{blank}{''.join(pieces)}{right}",
    BLANKS, NUMBERS, BLANKS, st.lists(PIECES, max_size=4), BLANKS,
)  # fmt: skip


def reads(found: object, text: str) -> bool:
    """Whether the text is a quantity of these units above nothing; other limits are no matter of writing."""
    try:
        TypeAdapter(found).validate_python(text)
    except ValidationError as error:
        return error.errors()[0]["type"] in ("quantity_whole", "quantity_range")
    return True


@pytest.mark.parametrize("name", MARKED)
@given(text=st.one_of(WRITTEN, st.text(max_size=12)))
@settings(max_examples=300)
def test_the_pattern_of_the_schema_accepts_what_is_read(name: str, text: str) -> None:
    found, schema = MARKED[name]
    assert (re.search(schema["pattern"], text) is not None) == reads(found, text)


@pytest.mark.parametrize("name", MARKED)
@given(data=st.data())
@settings(max_examples=50)
def test_what_the_pattern_of_the_schema_accepts_is_read(name: str, data: st.DataObject) -> None:
    found, schema = MARKED[name]
    assert reads(found, data.draw(st.from_regex(schema["pattern"])))


def test_every_quantity_of_the_language_was_looked_at() -> None:
    assert {"Duration", "BatchSize", "Warmup", "Percent", "Bytes", "Rate", "Time"} <= set(MARKED)
