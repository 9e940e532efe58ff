"""A worker for litgpt's environment: its model and its pretraining loop, `litgpt.pretrain.fit`, on the same shapes.

LITGPT_PYTHON benchmarks/throughput/litgpt_worker.py SHAPE_AS_JSON PRECISION STEPS eager|compiled

It imports nothing of ours. litgpt has no learned positions: its GPT-2-like model turns a quarter of each head, as
GPT-NeoX does (a few percent of the work of a block), and has GPT-2's norms, GELU, biases and widths.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import lightning as L
import torch
from litgpt import GPT, Config
from litgpt.args import EvalArgs, TrainArgs
from litgpt.pretrain import fit
from torch.utils.data import DataLoader

PRECISIONS = {"fp32": "32-true", "bf16": "bf16-mixed"}


def config(shape: dict[str, Any]) -> Config:
    """Of litgpt's own kind."""
    common = {
        "name": shape["name"], "block_size": shape["context_length"], "vocab_size": shape["vocabulary"],
        "padded_vocab_size": shape["vocabulary"], "n_layer": shape["num_layers"], "n_head": shape["num_heads"],
        "n_embd": shape["hidden_size"], "intermediate_size": shape["intermediate_size"],
    }  # fmt: skip
    if shape["style"] == "gpt2":
        return Config(
            **common, bias=True, parallel_residual=False, norm_class_name="LayerNorm", mlp_class_name="GptNeoxMLP",
            rotary_percentage=0.25, gelu_approximate="tanh",
        )  # fmt: skip
    return Config(
        **common, bias=False, parallel_residual=False, norm_class_name="RMSNorm", mlp_class_name="LLaMAMLP",
        rotary_percentage=1.0, n_query_groups=shape["num_heads"],
    )  # fmt: skip


def main() -> None:
    """Print the seconds of each step as JSON."""
    text, precision, steps, mode = sys.argv[1:]
    shape = json.loads(text)
    times: list[float] = []
    # litgpt reports on the standard output, which is for the result.
    with contextlib.redirect_stdout(sys.stderr), tempfile.TemporaryDirectory() as folder:
        train(shape, precision, int(steps), Path(folder), times, compiled=mode == "compiled")
    print(json.dumps([after - before for before, after in itertools.pairwise(times)]))


def train(
    shape: dict[str, Any], precision: str, steps: int, folder: Path, times: list[float], *, compiled: bool
) -> None:
    """The loop of litgpt; `times` gets the end of each step."""
    fabric = L.Fabric(devices=1, accelerator="cpu", precision=PRECISIONS[precision])
    fabric.launch()
    fabric.seed_everything(0)
    with fabric.init_module():
        model = GPT(config(shape))
    model.max_seq_length = shape["context_length"]
    # In this order, as litgpt.pretrain has it.
    model = fabric.setup(torch.compile(model) if compiled else model, _reapply_compile=False)
    betas, decay = tuple(shape["betas"]), shape["weight_decay"]
    adamw = torch.optim.AdamW(
        model.parameters(), lr=shape["learning_rate"], betas=betas, weight_decay=decay, fused=True
    )
    adamw.register_step_post_hook(lambda *_: times.append(time.perf_counter()))
    optimizer = fabric.setup_optimizers(adamw)
    batch, length = shape["batch_size"], shape["context_length"]
    rows = torch.randint(0, shape["vocabulary"], (batch * 64, length + 1))
    data = fabric.setup_dataloaders(DataLoader(rows, batch_size=batch))
    state = {"model": model, "optimizer": optimizer, "iter_num": 0, "step_count": 0}
    settings = TrainArgs(
        global_batch_size=batch, micro_batch_size=batch, max_tokens=steps * batch * length, save_interval=None,
        max_norm=shape["max_grad_norm"], log_interval=1, lr_warmup_steps=1, min_lr=shape["learning_rate"],
    )  # fmt: skip
    fit(fabric, 1, state, data, data, folder, None, settings, EvalArgs(interval=10**9, max_iters=1))


if __name__ == "__main__":
    main()
