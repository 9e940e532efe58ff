"""Feed-forward networks."""

from typing import Annotated

from pydantic import Discriminator

from specc.kinds.ffn.dense import Dense
from specc.kinds.ffn.gated import Gated
from specc.kinds.ffn.geglu import GeGlu
from specc.kinds.ffn.gelu import Gelu
from specc.kinds.ffn.moe import Moe
from specc.kinds.ffn.plain import Plain
from specc.kinds.ffn.reglu import ReGlu
from specc.kinds.ffn.relu import Relu
from specc.kinds.ffn.squared_relu import SquaredRelu
from specc.kinds.ffn.swiglu import SwiGlu

FFN = (SwiGlu, GeGlu, ReGlu, Gelu, Relu, SquaredRelu, Moe)
Ffn = Annotated[SwiGlu | GeGlu | ReGlu | Gelu | Relu | SquaredRelu | Moe, Discriminator("kind")]
FeedForward = Plain | Gated | Moe | Dense
"""What can stand in a layer."""
