"""What a stage may know of the experiment when it is lowered."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from specc import ir
from specc.spec.base import Node


@dataclass(frozen=True)
class StageContext:
    """The lowered parts that stages refer to by name."""

    model: ir.Model
    datasets: Mapping[str, ir.Dataset]
    suites: Mapping[str, ir.Suite]
    tokenizer: ir.Tokenizer
    architecture: Node | None = None
    """The `model:` section as it was written."""
    origins: Mapping[str, str | None] = field(default_factory=dict)
    """By stage: the `model_type` that its weights had where they come from, if they were imported."""
