"""A model that scores text."""

from __future__ import annotations

from typing import Literal

from specc.spec.base import Node, identity


class RewardModel(Node):
    """The score of a reward model for prompt and completion (Ouyang et al. 2022, arXiv:2203.02155, section 3.5)."""

    kind: Literal["reward_model"] = identity("The choice.")
    base: str = identity("Stage of kind `reward`, or one of `models`.", alias="from")
    weight: float = identity("Factor of this reward in the sum.", 1.0)
