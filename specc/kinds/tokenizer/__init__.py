"""Text to ids."""

from typing import Annotated

from pydantic import Discriminator

from specc.kinds.tokenizer.byte import Byte
from specc.kinds.tokenizer.pretrained import Pretrained

TOKENIZER = (Byte, Pretrained)
Tokenizer = Annotated[Byte | Pretrained, Discriminator("kind")]
