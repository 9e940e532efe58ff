"""Attention."""

from typing import Annotated

from pydantic import Discriminator

from specc.kinds.attention.gqa import Gqa
from specc.kinds.attention.mha import Mha

ATTENTION = (Gqa, Mha)
Attention = Annotated[Gqa | Mha, Discriminator("kind")]
