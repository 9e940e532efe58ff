import math

import torch
from model import Cache, Model

from runners.init import Normal, Ones
from runners.pretrain import Pretraining, pretrain

PRETRAINING = Pretraining(
    stage="pretrain",
    engine="torch",
    engine_config=None,
    seed=7,
    data="corpus",
    context_length=32,
    steps=200,
    global_batch_size=4,
    micro_batch_size=4,
    gradient_accumulation_steps=1,
    activation_checkpointing="none",
    precision="fp32",
    max_grad_norm=1.0,
    log_every=1,
    validate_every=50,
    validation_batches=2,
    checkpoint_every=10,
    keep_checkpoints=2,
    sample_prompt="def ",
    sample_tokens=8,
)
INITIALISATION = (
    ("*norm.weight", Ones()),
    ("*.o_proj.weight", Normal(0.02 / math.sqrt(2 * 2))),
    ("*", Normal(0.02)),
)


def optimizer(model: torch.nn.Module) -> torch.optim.Optimizer:
    return torch.optim.AdamW(model.parameters(), lr=1e-2, betas=(0.9, 0.95), weight_decay=0.1)


def learning_rate(step: int) -> float:
    return 1e-2 * min(1.0, (step + 1) / 10)


if __name__ == "__main__":
    pretrain(Model, Cache, PRETRAINING, INITIALISATION, optimizer, learning_rate)
