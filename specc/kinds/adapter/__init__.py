"""What fine-tuning trains."""

from typing import Annotated

from pydantic import Discriminator

from specc.kinds.adapter.full import Full
from specc.kinds.adapter.lora import Lora

ADAPTER = (Full, Lora)
Adapter = Annotated[Full | Lora, Discriminator("kind")]
