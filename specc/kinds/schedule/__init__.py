"""Learning-rate schedules."""

from typing import Annotated

from pydantic import Discriminator

from specc.kinds.schedule.constant import Constant
from specc.kinds.schedule.cosine import Cosine
from specc.kinds.schedule.inverse_sqrt import InverseSqrt
from specc.kinds.schedule.linear import Linear
from specc.kinds.schedule.wsd import Wsd

SCHEDULE = (Cosine, Linear, Wsd, InverseSqrt, Constant)
Schedule = Annotated[Cosine | Linear | Wsd | InverseSqrt | Constant, Discriminator("kind")]
