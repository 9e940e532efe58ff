"""How rotary angles are changed for a context that is longer than the one they were set for."""

from typing import Annotated

from pydantic import Discriminator

from specc.kinds.rope_scaling.dynamic import Dynamic
from specc.kinds.rope_scaling.linear import Linear
from specc.kinds.rope_scaling.llama3 import Llama3
from specc.kinds.rope_scaling.longrope import Longrope
from specc.kinds.rope_scaling.yarn import Yarn

ROPE_SCALING = (Linear, Dynamic, Yarn, Llama3, Longrope)
RopeScaling = Annotated[Linear | Dynamic | Yarn | Llama3 | Longrope, Discriminator("kind")]
