"""A worker: the same model in `transformers`, trained by its Trainer.

python -m benchmarks.throughput.trainer SHAPE PRECISION STEPS eager|compiled
"""

from __future__ import annotations

import itertools
import json
import sys
import tempfile
import time
from typing import Any

import torch
from torch.utils.data import Dataset
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedModel,
    Trainer,
    TrainerCallback,
    TrainingArguments,
)

from benchmarks.throughput import shapes
from benchmarks.throughput.shapes import SHAPES, Shape


def network(shape: Shape) -> PreTrainedModel:
    """The model with random weights and PyTorch's fused attention."""
    common = {"vocab_size": shapes.VOCABULARY, "use_cache": False, "attn_implementation": "sdpa"}
    if shape.style == "gpt2":
        config = GPT2Config(
            n_embd=shape.hidden_size, n_layer=shape.num_layers, n_head=shape.num_heads,
            n_inner=shape.intermediate_size, n_positions=shape.context_length,
            resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0, **common,
        )  # fmt: skip
        return GPT2LMHeadModel(config)
    return LlamaForCausalLM(
        LlamaConfig(
            hidden_size=shape.hidden_size,
            num_hidden_layers=shape.num_layers,
            num_attention_heads=shape.num_heads,
            num_key_value_heads=shape.num_heads,
            intermediate_size=shape.intermediate_size,
            max_position_embeddings=shape.context_length,
            tie_word_embeddings=False,
            **common,
        )
    )


class Tokens(Dataset[dict[str, torch.Tensor]]):
    """Random sequences in memory."""

    def __init__(self, shape: Shape, count: int) -> None:
        self.rows = torch.randint(0, shapes.VOCABULARY, (count, shape.context_length))

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        return {"input_ids": self.rows[index], "labels": self.rows[index]}


class Clock(TrainerCallback):
    """The time at the end of each step."""

    def __init__(self) -> None:
        self.times: list[float] = []

    def on_step_end(self, *given: Any, **more: Any) -> None:
        """Note it."""
        del given, more
        self.times.append(time.perf_counter())


def main() -> None:
    """Print the seconds of each step as JSON."""
    name, precision, steps, mode = sys.argv[1:]
    shape, clock = SHAPES[name], Clock()
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as folder:
        arguments = TrainingArguments(
            output_dir=folder, use_cpu=True, max_steps=int(steps), per_device_train_batch_size=shape.batch_size,
            bf16=precision == "bf16", torch_compile=mode == "compiled", learning_rate=shapes.LEARNING_RATE,
            weight_decay=shapes.WEIGHT_DECAY, adam_beta1=shapes.BETAS[0], adam_beta2=shapes.BETAS[1],
            max_grad_norm=shapes.MAX_GRAD_NORM, lr_scheduler_type="constant", logging_strategy="no",
            save_strategy="no", report_to=[], disable_tqdm=True, optim="adamw_torch_fused",
        )  # fmt: skip
        data = Tokens(shape, shape.batch_size * 64)
        Trainer(model=network(shape), args=arguments, train_dataset=data, callbacks=[clock]).train()
    print(json.dumps([after - before for before, after in itertools.pairwise(clock.times)]))


if __name__ == "__main__":
    main()
