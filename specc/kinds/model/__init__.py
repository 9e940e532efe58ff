"""Model families."""

from typing import Annotated

from pydantic import Field

from specc.kinds.model.decoder import Decoder

MODEL = (Decoder,)
Model = Annotated[Decoder, Field()]
