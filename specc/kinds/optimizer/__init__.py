"""Optimizers."""

from typing import Annotated

from pydantic import Discriminator

from specc.kinds.optimizer.adafactor import Adafactor
from specc.kinds.optimizer.adamw import AdamW
from specc.kinds.optimizer.adamw_8bit import AdamW8bit
from specc.kinds.optimizer.lion import Lion
from specc.kinds.optimizer.muon import Muon

OPTIMIZER = (AdamW, AdamW8bit, Lion, Adafactor, Muon)
Optimizer = Annotated[AdamW | AdamW8bit | Lion | Adafactor | Muon, Discriminator("kind")]
