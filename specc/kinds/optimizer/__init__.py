"""Optimizers."""

from typing import Annotated

from pydantic import Field

from specc.kinds.optimizer.adamw import AdamW

OPTIMIZER = (AdamW,)
Optimizer = Annotated[AdamW, Field()]
