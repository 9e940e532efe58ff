"""Feed-forward networks."""

from typing import Annotated

from pydantic import Discriminator

from specc.kinds.ffn.gelu import Gelu
from specc.kinds.ffn.swiglu import SwiGlu

FFN = (SwiGlu, Gelu)
Ffn = Annotated[SwiGlu | Gelu, Discriminator("kind")]
