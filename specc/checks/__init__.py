"""Cross-field checks: they read a whole experiment, or its plan, and only report."""

from collections.abc import Callable, Iterator

from specc.checks.adapters import check_targets
from specc.checks.batches import check_divided_growth, check_growth
from specc.checks.cluster import check_jobs
from specc.checks.comparisons import check_idle_reference
from specc.checks.curricula import check_short_sequences
from specc.checks.durations import check_checkpoints, check_kept_checkpoints, check_repetition, check_warmup
from specc.checks.lowering import check_filters, check_lowering, check_sources
from specc.checks.optimizers import check_muon, check_own_rates, check_relative_steps, check_rules
from specc.checks.parallelism import check_emitted, check_layouts
from specc.checks.training import (
    check_betas,
    check_cadences,
    check_rates,
    check_steps,
    check_tokens_per_parameter,
)
from specc.diagnostics import Finding
from specc.ir import Experiment, Plan

Check = Callable[[Experiment], Iterator[Finding]]
PlanCheck = Callable[[Plan], Iterator[Finding]]

CHECKS: tuple[Check, ...] = (
    check_warmup,
    check_checkpoints,
    check_kept_checkpoints,
    check_repetition,
    check_growth,
    check_steps,
    check_rules,
    check_muon,
    check_own_rates,
    check_relative_steps,
    check_betas,
    check_rates,
    check_cadences,
    check_tokens_per_parameter,
    check_targets,
    check_idle_reference,
    check_lowering,
    check_sources,
    check_filters,
)

# What only the layout, the machines or the predicted times can tell.
PLAN_CHECKS: tuple[PlanCheck, ...] = (
    check_emitted,
    check_layouts,
    check_divided_growth,
    check_jobs,
    check_short_sequences,
)
