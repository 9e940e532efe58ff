"""What completions are scored by when a model learns from its own."""

from typing import Annotated

from pydantic import Discriminator

from specc.kinds.reward.exact_match import ExactMatch
from specc.kinds.reward.reward_model import RewardModel

REWARD = (RewardModel, ExactMatch)
Reward = Annotated[RewardModel | ExactMatch, Discriminator("kind")]
