"""What happens when the loss jumps."""

from typing import Annotated

from pydantic import Discriminator

from specc.kinds.spike.ignore import Ignore
from specc.kinds.spike.rollback import Rollback
from specc.kinds.spike.skip import Skip
from specc.kinds.spike.stop import Stop

SPIKE = (Ignore, Skip, Rollback, Stop)
Spike = Annotated[Ignore | Skip | Rollback | Stop, Discriminator("kind")]
