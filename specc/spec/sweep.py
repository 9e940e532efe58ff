"""What a user may write under `sweep`."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from specc.spec.base import Node, section

Values = Annotated[tuple[Any, ...], Field(min_length=1)]


class Sweep(Node):
    """One spec, many variants. A path is dotted, as in `--set`; items of a list go by their index.

    `grid: {stages.pretrain.optimizer.learning_rate: [1.0e-3, 2.0e-3]}` makes two variants.
    """

    grid: dict[str, Values] = section("Lists of values by path; every combination is a variant.", default_factory=dict)
    zip_: dict[str, Values] = section(
        "Lists of equal length by path, taken in step: their first values together, then their second ones.",
        default_factory=dict,
        alias="zip",
    )
