"""A model says the same of its blocks one by one and counted."""

from __future__ import annotations

import pytest

from tests.compiling import planned
from tests.conftest import ROOT


@pytest.mark.parametrize("pattern", ["L", "LG", "LLG"])
def test_equal_blocks_counted_once_have_the_sums_of_all_blocks(pattern: str) -> None:
    sets = ("model.num_layers=6", "model.attention.window=16", f"model.attention.pattern={pattern}")
    model = planned(*sets, spec=ROOT / "specs/presets/tiny.yaml").experiment.model
    placed = [part for _, part in model.placed()]
    assert sum(count for count, _, _ in model.counted()) == len(placed) == 6 * 4 + 4
    assert {prefix: part for _, prefix, part in model.counted()}.items() <= dict(model.placed()).items()
    assert model.parameters == sum(part.parameters for part in placed) == sum(w.count for w in model.weights())
    assert model.kv_cache_values_per_token == sum(part.kv_cache_values for part in placed)
    assert model.forward_flops_per_token(64) == sum(part.matmul_flops + part.score_flops * 64 for part in placed)
