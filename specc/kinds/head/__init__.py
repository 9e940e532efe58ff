"""Heads: what is made of the last hidden state."""

from typing import Annotated

from pydantic import Field

from specc.kinds.head.lm import Lm

HEAD = (Lm,)
Head = Annotated[Lm, Field()]
