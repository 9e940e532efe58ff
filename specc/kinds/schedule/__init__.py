"""Learning-rate schedules."""

from typing import Annotated

from pydantic import Discriminator

from specc.kinds.schedule.constant import Constant
from specc.kinds.schedule.cosine import Cosine

SCHEDULE = (Cosine, Constant)
Schedule = Annotated[Cosine | Constant, Discriminator("kind")]
