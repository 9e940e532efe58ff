"""What a pretraining stage learns to predict."""

from typing import Annotated

from pydantic import Discriminator

from specc.kinds.objective.causal import Causal
from specc.kinds.objective.masked import Masked
from specc.kinds.objective.multi_token import MultiToken
from specc.kinds.objective.prefix import Prefix
from specc.kinds.objective.span_corruption import SpanCorruption
from specc.kinds.objective.ul2 import Ul2

OBJECTIVE = (Causal, Prefix, Masked, SpanCorruption, Ul2, MultiToken)
Objective = Annotated[
    Causal | Prefix | Masked | SpanCorruption | Ul2 | MultiToken,
    Discriminator("kind"),
]
