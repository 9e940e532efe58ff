"""The plans of a sweep side by side: one row a variant."""

from __future__ import annotations

from typing import Any

from specc.ir.plan import Plan
from specc.planning.report import SCHEMA, to_json
from specc.planning.text import count, duration


def sweep_to_json(sweep: str, plans: tuple[Plan, ...]) -> dict[str, Any]:
    """Every plan under its sweep, each as `specc plan --variant NAME --json` gives it."""
    return {"schema": SCHEMA, "sweep": sweep, "variants": [to_json(plan) for plan in plans]}


def render_sweep(sweep: str, plans: tuple[Plan, ...]) -> str:
    """A table of the variants, and their sum: parameters, time and cost of all stages together."""
    rows = [
        (plan.experiment.name.partition("@")[2], count(plan.experiment.model.parameters), *_spent((plan,)))
        for plan in plans
    ]
    head = ("variant", "parameters", "duration", "cost")
    table = [head, *rows, ("all, one after another", "", *_spent(plans))]
    widths = [max(len(row[column]) for row in table) for column in range(len(head))]
    lines = [
        "  ".join(
            [row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))]
        )
        for row in table
    ]
    cluster = plans[0].cluster
    where = f" on {cluster.devices:,} x {cluster.device.title}" if all(p.cluster == cluster for p in plans) else ""
    return "\n".join(line.rstrip() for line in (f"{sweep}: {len(plans):,} variants{where}", "", *lines))


def _spent(plans: tuple[Plan, ...]) -> tuple[str, str]:
    """Time and cost of all stages; a mark where some stage's is not known, and so not counted."""
    stages = [stage for plan in plans for stage in plan.stages if stage.layout is not None]
    seconds = [stage.duration_s for stage in stages]
    costs = [stage.cost_usd for stage in stages]
    return (_sum(seconds, duration), _sum(costs, lambda usd: f"${usd:,.2f}" if usd < 100 else f"${usd:,.0f}"))


def _sum(values: list[float | None], write: Any) -> str:
    known = [value for value in values if value is not None]
    if not known:
        return "-"
    return ("" if len(known) == len(values) else "> ") + str(write(sum(known)))
