"""How the load of experts is kept even."""

from typing import Annotated

from pydantic import Discriminator

from specc.kinds.balancing.bias import Bias
from specc.kinds.balancing.loss import Loss
from specc.kinds.balancing.none import NoBalancing

BALANCING = (NoBalancing, Loss, Bias)
Balancing = Annotated[NoBalancing | Loss | Bias, Discriminator("kind")]
