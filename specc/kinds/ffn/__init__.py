"""Feed-forward networks."""

from typing import Annotated

from pydantic import Discriminator

from specc.kinds.ffn.gelu import Gelu
from specc.kinds.ffn.moe import Moe
from specc.kinds.ffn.swiglu import SwiGlu

FFN = (SwiGlu, Gelu, Moe)
Ffn = Annotated[SwiGlu | Gelu | Moe, Discriminator("kind")]
