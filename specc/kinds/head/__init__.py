"""Heads: what is made of the last hidden state."""

from typing import Annotated

from pydantic import Discriminator, Field

from specc.kinds.head.classification import Classification
from specc.kinds.head.lm import Lm
from specc.kinds.head.masked_lm import MaskedLm
from specc.kinds.head.none import NoHead
from specc.kinds.head.pooled import Pooled
from specc.kinds.head.token_classification import TokenClassification

HEAD = (Lm, MaskedLm, Classification, TokenClassification, Pooled, NoHead)
Head = Annotated[Lm | MaskedLm | Classification | TokenClassification | Pooled | NoHead, Discriminator("kind")]
WritingHead = Annotated[Lm, Field()]
"""Heads of models that write."""
ReadingHead = Annotated[MaskedLm | Classification | TokenClassification | Pooled | NoHead, Discriminator("kind")]
"""Heads of encoders."""
