"""The IR printed as text reads back equal, and what is no IR is refused with its line."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, is_dataclass, replace
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from specc import driver, ir
from specc.ir.text import IrTextError, classes, from_text, to_text
from tests.compiling import planned
from tests.conftest import ROOT

SPECS = sorted(ROOT.glob("specs/*.yaml"))
TEXT = st.text(st.characters(codec=None), max_size=20)
SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), TEXT, st.fractions(), st.binary(max_size=4)
)


def containers(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.one_of(
        st.lists(inner, max_size=4),
        st.lists(inner, max_size=4).map(tuple),
        st.dictionaries(st.one_of(TEXT, st.integers()), inner, max_size=4),
        st.sampled_from(sorted(classes())).flatmap(lambda name: nodes(classes()[name], inner)),
        st.tuples(inner, st.integers(2, 4)).map(lambda pair: (pair[0],) * pair[1]),
    )


def nodes(made: type, inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Any value in any field: the text must not depend on what the annotations promise."""
    return st.tuples(*(inner for _ in fields(made))).map(lambda values: made(*values))


VALUES = st.recursive(SCALARS, containers, max_leaves=25)


def same(one: Any, other: Any) -> bool:
    """Equal in content and, unlike `==`, in type: 1 is not True, a tuple is no list. Any mapping is a mapping."""
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return list(one) == list(other) and all(
            same(a, b) and same(one[a], other[b]) for a, b in zip(one, other, strict=True)
        )
    if type(one) is not type(other):
        return False
    if is_dataclass(one):
        return all(same(getattr(one, f.name), getattr(other, f.name)) for f in fields(one))
    if isinstance(one, tuple | list):
        return len(one) == len(other) and all(map(same, one, other))
    return bool(one == other) and (not isinstance(one, float) or repr(one) == repr(other))


@given(VALUES)
@settings(max_examples=300, deadline=None)
def test_any_value_reads_back_equal_and_of_the_same_types(value: Any) -> None:
    text = to_text(value)
    again = from_text(text)
    assert again == value
    assert same(again, value)
    assert to_text(again) == text


@pytest.mark.parametrize("spec", SPECS, ids=lambda path: path.stem)
def test_the_experiment_and_plan_of_every_shipped_spec_read_back_equal(spec: Any) -> None:
    plan = planned(spec=spec)
    assert from_text(to_text(plan.experiment)) == plan.experiment
    assert from_text(to_text(plan)) == plan


def test_the_experiment_reads_back_equal_after_every_pass() -> None:
    seen: dict[str, Any] = {}
    driver.check(ROOT / "specs/70b_alibi.yaml", wishes=driver.Wishes(watch=seen.__setitem__))
    assert list(seen) == ["lower", "order_stages", "plan"]
    for value in seen.values():
        assert from_text(to_text(value)) == value


def test_floats_fractions_and_unicode_are_exact() -> None:
    values = (0.1, 1e-300, -0.0, float("inf"), Fraction(1, 3), "\ud83d\ude00", "a\u2028b\r\n'\"\\", True, 1, (1,), [1])
    assert same(from_text(to_text(values)), values)


def test_equal_layers_are_printed_once_and_a_setting_takes_one_line() -> None:
    norm = ir.Component("norm/rmsnorm")
    layers = (ir.Layer(1, (("norm", norm),)),) * 3
    assert to_text(layers).splitlines()[1] == "  - 3 x Layer"
    assert from_text(to_text(layers)) == layers
    lines = to_text(planned().experiment).splitlines()
    assert "    - Setting(path='seed', value=1, effect='identity', meaning=1)" in lines


def test_one_changed_value_is_one_changed_line() -> None:
    experiment = planned().experiment
    before, after = to_text(experiment).splitlines(), to_text(replace(experiment, seed=7)).splitlines()
    assert [(a, b) for a, b in zip(before, after, strict=True) if a != b] == [("  seed: 1", "  seed: 7")]


def test_every_dataclass_of_the_package_is_known() -> None:
    public = {name for name in ir.__all__ if is_dataclass(getattr(ir, name))}
    assert public <= set(classes())


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "line 1: the text is empty"),
        ("Nonsense\n", "line 1: `Nonsense` is not the text of an IR value"),
        ("__import__('os').system('true')\n", "is not the text of an IR value"),
        ("Dimension\n  letter: 'D'\n", "line 1: `Dimension` is no Dimension: it needs `size`"),
        ("Export\n  format: 'x'\n  colour: 1\n", "line 1: `Export` is no Export: it has no field `colour`"),
        ("tuple\n  - 1\n   - 2\n", "line 3: `- 2` is indented by an odd number of blanks"),
        ("tuple\n    - 1\n", "line 2: `- 1` is indented too deeply to belong to line 1"),
        ("tuple\n  - 1\nNone\n", "line 3: `None` belongs to nothing above it"),
        ("mapping\n  - 1\n", "line 2: `- 1` is no member of `mapping`"),
        ("Fraction(1, 0)\n", "line 1: `Fraction(1, 0)` cannot be read"),
    ],
)
def test_text_that_is_no_ir_is_refused_with_its_line(text: str, problem: str) -> None:
    with pytest.raises(IrTextError) as refused:
        from_text(text)
    assert problem in str(refused.value)


@pytest.mark.parametrize("value", [{1, 2}, object(), (1, {2})])
def test_what_no_ir_holds_is_not_printed(value: Any) -> None:
    with pytest.raises(TypeError, match="an IR holds no"):
        to_text(value)
