"""Proximal policy optimisation."""

from __future__ import annotations

from typing import ClassVar, Literal

from specc import ir
from specc.kinds.stage.context import StageContext
from specc.kinds.stage.online import OnlineStage
from specc.spec.base import identity


class Ppo(OnlineStage):
    """Advantages from a learned value function (Schulman et al. 2017, arXiv:1707.06347; Ouyang et al. 2022)."""

    lowered: ClassVar[bool] = False

    kind: Literal["ppo"] = identity("The choice.")
    kl: float = identity("Weight of the distance from the reference; 0 to go without one.", 0.02, ge=0.0)
    clip: float = identity("Largest change of a token's probability ratio in one step.", 0.2, gt=0.0)
    gae_lambda: float = identity("Decay of the generalised advantage estimate.", 0.95, ge=0.0, le=1.0)
    value_coefficient: float = identity("Weight of the value function's loss.", 0.1, ge=0.0)

    def lower(self, context: StageContext) -> ir.Training:
        """The policy's part: completions and the value model are not counted."""
        own = {"clip": self.clip, "gae_lambda": self.gae_lambda, "value_coefficient": self.value_coefficient}
        return self.lower_from_base(context, **self.options(), **own)
