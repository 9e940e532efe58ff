"""What a stage learns to predict: token windows to inputs and targets, and logits to a loss.

The choices, their fields and their sources are those of `stages.NAME.objective` in a spec.
"""

from runners.objective.causal import Causal
from runners.objective.examples import Examples, Objective, training_examples, validation_examples
from runners.objective.masked import Masked
from runners.objective.multi_token import MultiToken
from runners.objective.prefix import Prefix
from runners.objective.span_corruption import SpanCorruption
from runners.objective.token_loss import TokenLoss
from runners.objective.ul2 import PrefixDenoiser, SpanDenoiser, Ul2, Ul2Decoder

__all__ = (
    "Causal",
    "Examples",
    "Masked",
    "MultiToken",
    "Objective",
    "Prefix",
    "PrefixDenoiser",
    "SpanCorruption",
    "SpanDenoiser",
    "TokenLoss",
    "Ul2",
    "Ul2Decoder",
    "training_examples",
    "validation_examples",
)
