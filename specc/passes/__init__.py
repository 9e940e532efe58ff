"""Experiment to Experiment. The tuple is the order; the comment says why a pass stands where it does."""

from collections.abc import Callable

from specc.ir import Experiment
from specc.passes.stage_order import order_stages

Pass = Callable[[Experiment], Experiment]

PASSES: tuple[Pass, ...] = (
    # Everything after this may walk the stages once, each after those it builds on.
    order_stages,
)
