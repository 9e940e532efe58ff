"""Stages of the lifecycle."""

from typing import Annotated

from pydantic import Discriminator

from specc.kinds.stage.dpo import Dpo
from specc.kinds.stage.evaluate import Evaluate
from specc.kinds.stage.export import Export
from specc.kinds.stage.pretrain import Pretrain
from specc.kinds.stage.sft import Sft

STAGE = (Pretrain, Sft, Dpo, Evaluate, Export)
Stage = Annotated[Pretrain | Sft | Dpo | Evaluate | Export, Discriminator("kind")]
