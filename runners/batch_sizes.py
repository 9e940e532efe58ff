"""How many sequences each optimizer step sees: a pure function of the number of the step."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class BatchSizes:
    """Batches that may be smaller at the beginning (Brown et al. 2020, arXiv:2005.14165, section 2.3)."""

    final: int
    """Sequences of a step after all phases."""
    phases: tuple[tuple[int, int], ...] = ()
    """Steps, and sequences of each of them, in order."""

    def size(self, step: int) -> int:
        """Sequences of the step that comes after `step` others."""
        for steps, size in self.phases:
            if step < steps:
                return size
            step -= steps
        return self.final

    def first(self, step: int) -> int:
        """Sequences of all steps before, which is the number of its first one."""
        seen = 0
        for steps, size in self.phases:
            seen += min(step, steps) * size
            step -= min(step, steps)
        return seen + step * self.final
