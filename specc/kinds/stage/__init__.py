"""Stages of the lifecycle."""

from typing import Annotated

from pydantic import Discriminator

from specc.kinds.stage.dpo import Dpo
from specc.kinds.stage.evaluate import Evaluate
from specc.kinds.stage.export import Export
from specc.kinds.stage.grpo import Grpo
from specc.kinds.stage.imported import Import
from specc.kinds.stage.kto import Kto
from specc.kinds.stage.ppo import Ppo
from specc.kinds.stage.pretrain import Pretrain
from specc.kinds.stage.reward import Reward
from specc.kinds.stage.sft import Sft

STAGE = (Pretrain, Import, Sft, Reward, Dpo, Kto, Grpo, Ppo, Evaluate, Export)
Stage = Annotated[
    Pretrain | Import | Sft | Reward | Dpo | Kto | Grpo | Ppo | Evaluate | Export,
    Discriminator("kind"),
]
