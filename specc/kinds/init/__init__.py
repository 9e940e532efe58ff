"""Initialisation schemes."""

from typing import Annotated

from pydantic import Discriminator

from specc.kinds.init.depth_scaled import DepthScaled
from specc.kinds.init.normal import Normal

INIT = (Normal, DepthScaled)
Init = Annotated[Normal | DepthScaled, Discriminator("kind")]
