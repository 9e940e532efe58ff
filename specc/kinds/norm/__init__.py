"""Normalisations."""

from typing import Annotated

from pydantic import Discriminator

from specc.kinds.norm.layernorm import LayerNorm
from specc.kinds.norm.rmsnorm import RmsNorm

NORM = (RmsNorm, LayerNorm)
Norm = Annotated[RmsNorm | LayerNorm, Discriminator("kind")]
