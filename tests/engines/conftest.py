"""Plans of the tiny experiment and their curves, compiled and trained once."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest

from tests.engines.reference import STEPS, VARIANTS, Curve, compiled, plain_curve

Experiment = Callable[..., tuple[Path, Curve]]


@pytest.fixture(scope="session")
def experiment(tmp_path_factory: pytest.TempPathFactory) -> Experiment:
    """A variant's plan and its curve by plain PyTorch, of so many steps."""

    @cache
    def made(variant: str, steps: int = STEPS, *, bf16: bool = False) -> tuple[Path, Curve]:
        plan = planned(variant)
        return plan, plain_curve(plan, steps, bf16=bf16)

    @cache
    def planned(variant: str) -> Path:
        return compiled(tmp_path_factory.mktemp(variant), *VARIANTS[variant])

    return made
