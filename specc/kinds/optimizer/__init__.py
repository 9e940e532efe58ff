"""Optimizers."""

from typing import Annotated

from pydantic import Discriminator

from specc.kinds.optimizer.adamw import AdamW
from specc.kinds.optimizer.muon import Muon

OPTIMIZER = (AdamW, Muon)
Optimizer = Annotated[AdamW | Muon, Discriminator("kind")]
