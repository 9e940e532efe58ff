"""How a stage is spread over devices: written out, or left to the planner value by value."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from specc import ir
from specc.spec.base import Node, WholeNumber, execution, numerics

Auto = Literal["auto"]
Positive = Annotated[int, Field(ge=1)]


class ParallelismSpec(Node):
    """`auto` is decided by the planner, which says what it took and why."""

    engine: Literal["torch", "deepspeed"] | Auto = numerics("What runs the step.", "auto")
    zero_stage: Annotated[Literal[1, 2, 3], WholeNumber] | Auto = numerics(
        "What is sharded over data-parallel ranks: 1 optimizer states, 2 also gradients, 3 also weights.", "auto"
    )
    micro_batch_size: Positive | Auto = execution("Sequences per forward pass and device.", "auto")
    gradient_accumulation_steps: Positive | Auto = execution(
        "Forward passes per optimizer step. It follows from the batch sizes; written out, it is checked.", "auto"
    )
    activation_checkpointing: Literal["none", "full"] | Auto = numerics(
        "Whether blocks are computed again in the backward pass instead of kept.", "auto"
    )

    def lower(self) -> ir.Requested:
        """What was written out; None where the planner decides."""
        written = {name: None if value == "auto" else value for name, value in self.model_dump().items()}
        return ir.Requested(**written)


def _from_word(value: Any) -> Any:
    return {} if value == "auto" else value


Parallelism = Annotated[ParallelismSpec, BeforeValidator(_from_word, json_schema_input_type=ParallelismSpec | Auto)]
"""`auto` alone leaves everything to the planner."""
