"""Cross-field checks: they read a whole experiment and only report."""

from collections.abc import Callable, Iterator

from specc.checks.adapters import check_targets
from specc.checks.durations import check_checkpoints, check_repetition, check_warmup
from specc.checks.lowering import check_filters, check_lowering
from specc.diagnostics import Finding
from specc.ir import Experiment

Check = Callable[[Experiment], Iterator[Finding]]

CHECKS: tuple[Check, ...] = (
    check_warmup,
    check_checkpoints,
    check_repetition,
    check_targets,
    check_lowering,
    check_filters,
)
