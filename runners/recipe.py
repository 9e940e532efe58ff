"""What a generated program of pretraining hands over: every decision of its stage, and its functions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from torch import Tensor, nn

from runners.batch_sizes import BatchSizes
from runners.curriculum import NOTHING, Curriculum
from runners.early_stopping import EarlyStopping
from runners.engines.averaged import Ema
from runners.engines.engine import Optimizer
from runners.init import Rules
from runners.layout import Layout
from runners.objective import Causal, Objective, TokenLoss
from runners.objective.examples import Examples
from runners.objective.token_loss import PLAIN
from runners.scoring import Scoring
from runners.spikes import IGNORE_SPIKES, OnSpike

CAUSAL = Causal()


@dataclass(frozen=True)
class Pretraining:
    """Every decision of a pretraining stage that is a number or a word."""

    stage: str
    engine: str
    engine_config: str | None
    """Configuration file of the engine, beside the program, where it has one."""
    seed: int
    data: str
    context_length: int
    """Tokens per sequence."""
    steps: int
    global_batch_size: int
    """Sequences per optimizer step."""
    micro_batch_size: int
    """Sequences per forward pass and device."""
    gradient_accumulation_steps: int
    activation_checkpointing: str
    precision: str
    max_grad_norm: float | None
    log_every: int
    validate_every: int
    validation_batches: int
    """Batches of held-out windows, each of the global batch size; fewer where not as many are held out."""
    checkpoint_every: int
    keep_checkpoints: int
    sample_prompt: str | None
    sample_tokens: int
    """Tokens after the prompt at most: both together stay within the context length."""
    sample_every: int | None = None
    """Steps between samples; None writes one at the end only."""
    scoring: Scoring | None = None
    """Suites that are scored on the way."""
    on_spike: OnSpike = IGNORE_SPIKES
    """What happens when the loss jumps."""
    early_stopping: EarlyStopping | None = None
    """When training no longer helps; None trains to the last step."""
    loss_scale: float | str | None = None
    """For fp16: a number, or `dynamic`."""
    base: str | None = None
    """The stage whose last checkpoint it starts from; None draws the weights."""
    auxiliary_loss: float | None = None
    """What the model's `auxiliary_loss()` is multiplied by and added to the loss; None where it has none."""
    after_step: bool = False
    """Whether the model's `after_step()` follows each step of the optimizer."""
    dropout: bool = False
    """Whether the model has dropout, whose masks are then drawn anew by (seed, step)."""
    objective: Objective = CAUSAL
    """What is predicted."""
    compile: bool = False
    """Whether torch.compile compiles the blocks."""
    keep_checkpoint_every: int | None = None
    """Steps: of each stretch of so many, the first checkpoint is kept for good."""
    checkpoint_asynchronous: bool = False
    """Whether files are written while training goes on."""
    checkpoint_canary: bool = True
    """Whether saving is tried out after the first step."""
    token_loss: TokenLoss = PLAIN
    """How logits and targets become a loss."""
    batch_sizes: tuple[tuple[int, int], ...] = ()
    """Steps at the beginning with smaller batches: how many, and sequences of each."""
    ema: Ema | None = None
    """The average of the weights that is kept beside them."""
    packing: str = "concatenate"
    """How documents share sequences: `concatenate` or `best_fit`."""
    curriculum: Curriculum = NOTHING
    """What changes in the data meanwhile."""
    layout: Layout | None = None
    """How it is spread over processes; None is one process."""

    @property
    def loss(self) -> Callable[[nn.Module, Examples], Tensor]:
        """Sum of the loss over the targets of a batch, nats."""
        return partial(self.objective.loss, by=self.token_loss)

    @property
    def batches(self) -> BatchSizes:
        """Sequences of each step."""
        return BatchSizes(self.global_batch_size, self.batch_sizes)


@dataclass(frozen=True)
class Recipe:
    """What a generated program hands over."""

    model: type[nn.Module]
    cache: type[Any] | None
    """What it keeps while it writes; None where it does not."""
    settings: Pretraining
    initialisation: Rules
    optimizer: Callable[[nn.Module], Optimizer]
    learning_rate: Callable[[int], float]
