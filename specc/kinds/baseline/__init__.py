"""Plain models that a trained one has to beat."""

from typing import Annotated

from pydantic import Field

from specc.kinds.baseline.byte_trigram import ByteTrigram

BASELINE = (ByteTrigram,)
Baseline = Annotated[ByteTrigram, Field()]
