"""How the length of the sequences changes while a stage trains."""

from typing import Annotated

from pydantic import Discriminator

from specc.kinds.sequence_length.linear import Linear
from specc.kinds.sequence_length.steps import Steps

SEQUENCE_LENGTH = (Linear, Steps)
SequenceLength = Annotated[Linear | Steps, Discriminator("kind")]
