"""The line of `specc check` that says how long and how dear a spec is."""

from __future__ import annotations

from dataclasses import replace

import pytest

from specc.cli.show import facts
from specc.ir.plan import Plan
from specc.planning import plan_experiment
from tests.planning.placing import TINY, cluster, experiment, stage, training


def plan(seconds: float | None, cost: float | None) -> Plan:
    placed, _ = plan_experiment(experiment(TINY, stage(training(TINY, 8))), cluster())
    return replace(placed, stages=(replace(placed.stages[0], duration_s=seconds, cost_usd=cost),))


@pytest.mark.parametrize(
    ("seconds", "cost", "said"),
    [
        (3.1 * 3600, 3995.2, "about 3.1 h and $3,995"),
        (55 * 60, 19.4, "about 55 min and $19"),
        (47 * 3600, None, "about 47 h"),
        (48 * 3600, None, "about 2 days"),
        (119 * 60, None, "about 119 min"),
        (120 * 60, None, "about 2 h"),
        (90, 0.001, "about 90 s and $0.01"),
        (0.2, None, "about a second"),
    ],
)
def test_time_has_the_unit_that_people_think_in(seconds: float, cost: float | None, said: str) -> None:
    assert facts((plan(seconds, cost),)).split("; ")[-1] == said


def test_what_is_not_known_is_not_said() -> None:
    assert facts((plan(None, None),)).endswith("stages pretrain")


def test_a_sweep_is_summed_up() -> None:
    assert facts((plan(3600, 10.0),) * 3).endswith("about 3 h and $30 in all")
