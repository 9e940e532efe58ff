"""How the model knows the order of tokens."""

from typing import Annotated

from pydantic import Discriminator

from specc.kinds.position.alibi import Alibi
from specc.kinds.position.learned import Learned
from specc.kinds.position.rope import Rope

POSITION = (Alibi, Rope, Learned)
Position = Annotated[Alibi | Rope | Learned, Discriminator("kind")]
