"""How the model knows the order of tokens."""

from typing import Annotated

from pydantic import Discriminator

from specc.kinds.position.alibi import Alibi
from specc.kinds.position.learned import Learned
from specc.kinds.position.none import NoPositions
from specc.kinds.position.relative import Relative
from specc.kinds.position.rope import Rope
from specc.kinds.position.sinusoidal import Sinusoidal

POSITION = (Alibi, Rope, Learned, Sinusoidal, Relative, NoPositions)
Position = Annotated[Alibi | Rope | Learned | Sinusoidal | Relative | NoPositions, Discriminator("kind")]
