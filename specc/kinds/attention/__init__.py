"""Attention."""

from typing import Annotated

from pydantic import Discriminator

from specc.kinds.attention.gqa import Gqa
from specc.kinds.attention.mha import Mha
from specc.kinds.attention.mla import Mla

ATTENTION = (Gqa, Mha, Mla)
Attention = Annotated[Gqa | Mha | Mla, Discriminator("kind")]
