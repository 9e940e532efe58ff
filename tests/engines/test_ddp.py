"""PyTorch's DDP: copies of everything, gradients summed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from runners.layout import Layout
from tests.engines.judging import assert_drawn_alike, assert_replicas_agree, assert_same_curve, trained
from tests.engines.training import Case

if TYPE_CHECKING:
    from tests.engines.conftest import Experiment


def test_two_copies_train_as_one_process(experiment: Experiment) -> None:
    plan, plain = experiment("alibi", 10)
    layout = Layout(replicate=2)
    cases = [Case(layout, accumulation, 10) for accumulation in (1, 2)]
    for seen in trained(plan, cases):
        assert_same_curve(seen, plain)
        assert_replicas_agree(seen)
        assert all(rank.began == seen[0].began for rank in seen)
        assert_drawn_alike(plan, seen[:1])


@pytest.mark.slow
@pytest.mark.parametrize("variant", ["rope", "alibi"])
@pytest.mark.parametrize("ranks", [2, 4])
def test_fifty_steps_are_the_same_curve(experiment: Experiment, variant: str, ranks: int) -> None:
    plan, plain = experiment(variant)
    cases = [Case(Layout(replicate=ranks), accumulation) for accumulation in (1, 2, 4) if accumulation * ranks <= 8]
    for seen in trained(plan, cases):
        assert_same_curve(seen, plain)
        assert_replicas_agree(seen)
