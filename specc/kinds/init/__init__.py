"""Initialisation schemes."""

from typing import Annotated

from pydantic import Discriminator

from specc.kinds.init.depth_scaled import DepthScaled
from specc.kinds.init.mup import Mup
from specc.kinds.init.normal import Normal

INIT = (Normal, DepthScaled, Mup)
Init = Annotated[Normal | DepthScaled | Mup, Discriminator("kind")]
