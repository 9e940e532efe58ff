"""Attention."""

from typing import Annotated

from pydantic import Discriminator

from specc.kinds.attention.gqa import Gqa
from specc.kinds.attention.mha import Mha
from specc.kinds.attention.mla import Mla
from specc.kinds.attention.mqa import Mqa

ATTENTION = (Gqa, Mha, Mqa, Mla)
Attention = Annotated[Gqa | Mha | Mqa | Mla, Discriminator("kind")]
MultiHeads = Annotated[Gqa | Mha | Mqa, Discriminator("kind")]
"""Those that keep whole keys and values: latent attention saves a cache, and an encoder has none."""
