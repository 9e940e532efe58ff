"""What a stage may know of the experiment when it is lowered."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from specc import ir


@dataclass(frozen=True)
class StageContext:
    """The lowered parts that stages refer to by name."""

    model: ir.Model
    datasets: Mapping[str, ir.Dataset]
    suites: Mapping[str, ir.Suite]
    tokenizer: ir.Tokenizer
