"""Engines: the same model and the same step, on one device or spread over many.

Each module has `build(recipe, ranks, place, base)`, which gives an `Engine` (runners/engines/engine.py).
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

import torch

from runners import facts
from runners.checkpoint import Checkpoint
from runners.engines import xla_host
from runners.engines.averaged import averaged
from runners.engines.engine import Engine
from runners.engines.recompute import ACTIVATION_CHECKPOINTING
from runners.engines.step import PRECISIONS
from runners.errors import RunError
from runners.kernels import use_fast_kernels
from runners.layout import Layout
from runners.ranks import Ranks

if TYPE_CHECKING:  # which itself needs the types of engines
    from runners.recipe import Pretraining, Recipe

ENGINES = ("torch", "deepspeed", "xla")


def device(settings: Pretraining) -> torch.device:
    """Where this process computes; RunError when the machine is not one that the stage is laid out for."""
    if settings.engine != "xla":
        return facts.device()
    layout = settings.layout or Layout()
    xla_host.prepare(layout)
    found: torch.device = import_module("runners.engines.xla").start(layout)
    return found


def build(recipe: Recipe, ranks: Ranks, place: torch.device, base: Checkpoint | None) -> Engine:
    """The model with its first weights, on the device; they are drawn where there is no `base`."""
    module = import_module(f"runners.engines.{_module(recipe.settings, ranks)}")
    engine: Engine = module.build(recipe, ranks, place, base)
    if recipe.settings.engine == "torch":
        use_fast_kernels(recipe.model, engine.model, place, compiled=recipe.settings.compile)
    return averaged(engine, recipe.settings.ema)


def _module(settings: Pretraining, ranks: Ranks) -> str:
    """The file that spreads a stage as its layout says."""
    if settings.engine == "deepspeed":
        return "deepspeed_pipeline" if ranks.layout.pipeline > 1 else "deepspeed"
    if settings.engine != "torch":
        return settings.engine
    layout = ranks.layout
    if layout.pipeline > 1:
        return "pipeline"
    if layout.expert > 1:
        return "expert"
    if layout.tensor > 1 or (layout.zero_stage and ranks.size > 1):
        return "fsdp"
    return "ddp" if ranks.size > 1 else "torch_engine"


def refuse_unsupported(settings: Pretraining, ranks: Ranks) -> None:
    """RunError for what this version does not run, before anything is read or written."""
    if settings.engine not in ENGINES:
        raise RunError(f"this version runs engine {' or '.join(ENGINES)}, and the plan says `{settings.engine}`")
    if settings.engine == "xla":
        xla_host.refuse_unsupported(settings)
    if settings.precision not in PRECISIONS:
        raise RunError(f"this version runs precision {' or '.join(PRECISIONS)}, and the plan says {settings.precision}")
    if settings.precision == "fp16" and settings.loss_scale is None:
        raise RunError("fp16 needs a loss scale, and the plan has none")
    if settings.precision == "fp8" and (ranks.size > 1 or settings.engine != "torch"):
        raise RunError("this version computes in fp8 in one process of the engine `torch`")
    if settings.activation_checkpointing not in ACTIVATION_CHECKPOINTING:
        raise RunError(f"this version does not run activation_checkpointing `{settings.activation_checkpointing}`")
    # One process of XLA reads the rows of all devices.
    layout = ranks.layout if settings.engine != "xla" else settings.layout or Layout()
    product = settings.micro_batch_size * settings.gradient_accumulation_steps * layout.replicate * layout.shard
    if product != settings.global_batch_size:
        raise RunError(
            f"micro_batch_size x gradient_accumulation_steps x data-parallel ranks is {product} sequences, "
            f"and global_batch_size is {settings.global_batch_size}"
        )
    parts = settings.micro_batch_size * ranks.data_size
    if any(size % parts for _, size in settings.batch_sizes):
        sizes = ", ".join(str(size) for _, size in settings.batch_sizes)
        raise RunError(f"micro_batch_size x data-parallel ranks is {parts} sequences, and batches grow as {sizes}")
